"""Section ``step``: a whole fine-tuning step, ours against a loop in the released artifact's manner."""

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import limits
from benchmarks.artifact_loop import ROW_TOKENS
from benchmarks.lockstep import Pair
from benchmarks.lockstep import run_lockstep
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import finish
from benchmarks.timing import Spread
from benchmarks.timing import Timed
from benchmarks.timing import ratio_of
from benchmarks.timing import spread_of
from deploy.contract.dataset import Row
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.data.example import Example
from training.data.example import encode_rows
from training.model import LoadedModel
from training.pretrain import build_base_model
from training.synthesis.generator import generate_rows

LYRA = Path(__file__).resolve().parents[2] / "shared" / "data" / "lyra" / "train.csv"
"""Beside the checkout, where it is kept; else rows of the same kind are generated."""
LOSS = DeceLoss(alpha_base=0.985, label_smoothing=0.05, mode="parity")
"""The clamp is the artifact's, or the losses could not be equal."""
LOSS_TOLERANCE = 1e-3
"""Relative, of every step: two loops that add up in another order drift apart."""
STEPS_A_ROUND = 3
ROWS = 1600
"""Lyra's; the tokenizer is trained on them."""
OURS, THEIRS = "training.loop", "artifact's manner"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """A Llama and its batches."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    """At most."""
    batch_size: int


FULL = StepShape(hidden=256, layers=6, heads=4, vocabulary=8192, batch_size=16)
QUICK = StepShape(hidden=64, layers=2, heads=2, vocabulary=1024, batch_size=4)


def rows_of(count: int) -> tuple[str, list[Row]]:
    """Where rows come from, and the first ``count`` of them."""
    if LYRA.exists():
        return "Lyra, train.csv", list(read_rows(LYRA, format=format_of(LYRA.name)))[:count]
    return "training.synthesis", generate_rows(count, seed=0)


def loss_failures(pairs: Sequence[Pair]) -> list[str]:
    """A sentence when the curves are apart somewhere."""
    for number, pair in enumerate(pairs, start=1):
        if not abs(pair.ours_loss - pair.theirs_loss) <= LOSS_TOLERANCE * abs(pair.theirs_loss):
            return [f"step {number}: our loss is {pair.ours_loss:.6f}, the artifact's {pair.theirs_loss:.6f}"]
    return []


def plan_of(shape: StepShape) -> TrainingPlan:
    """One epoch, and no clipping: the artifact does not clip."""
    return TrainingPlan(
        n_epochs=1,
        batch_size=shape.batch_size,
        learning_rate=3e-3,
        max_tokens=ROW_TOKENS,
        max_grad_norm=1e9,
    )


def measure_step(settings: Settings, watch: Watch, *, shape: StepShape | None = None) -> Section:
    """Train both side by side; the first step warms up and is not counted."""
    shape = shape or (QUICK if settings.quick else FULL)
    steps = min(1 + settings.rounds * STEPS_A_ROUND, ROWS // shape.batch_size)
    watch.progress.begin("step", steps)
    torch.set_num_threads(1)
    source, rows = rows_of(ROWS)
    loaded = build_base_model(
        rows,
        hidden=shape.hidden,
        layers=shape.layers,
        heads=shape.heads,
        vocabulary=shape.vocabulary,
        context=ROW_TOKENS,
        seed=0,
    )
    chosen = rows[: steps * shape.batch_size]
    examples = encode_rows(loaded.tokenizer, chosen, max_tokens=ROW_TOKENS).examples
    pairs = run_lockstep(loaded, examples, plan_of(shape), LOSS, tick=watch.tick)
    speeds = _speeds(pairs[1:])
    bar = Bar(
        what=f"real tokens a second: {OURS} / {THEIRS}",
        measured=ratio_of(speeds[OURS], speeds[THEIRS]),
        limit=limits.STEP_SPEED,
        at_least=True,
    )
    return finish(
        "step",
        "A whole fine-tuning step",
        shape={**asdict(shape), **_described(loaded, examples), "data": source, "dtype": "float32"},
        settings=settings,
        watch=watch,
        timed=_timed(pairs[1:]),
        measurements=_measurements(speeds),
        bars=[bar],
        notes=_notes(pairs),
        failures=loss_failures(pairs),
    )


def _described(loaded: LoadedModel, examples: Sequence[Example]) -> dict[str, Any]:
    """What decides the ratio beside the model's shape."""
    tokens = sum(one.tokens for one in examples) / len(examples)
    supervised = sum(len(one.completion_ids) for one in examples) / len(examples)
    return {
        "classes": len(loaded.tokenizer),
        "parameters": loaded.parameters,
        "tokens a row": round(tokens, 1),
        "filling of the artifact's rows": f"{100 * tokens / ROW_TOKENS:.0f} %",
        "supervised of the artifact's rows": f"{100 * supervised / ROW_TOKENS:.0f} %",
    }


def _speeds(pairs: Sequence[Pair]) -> dict[str, Spread]:
    """Tokens of prompts and completions a CPU second."""
    return {
        THEIRS: spread_of([pair.tokens / pair.theirs_s for pair in pairs]),
        OURS: spread_of([pair.tokens / pair.ours_s for pair in pairs]),
    }


def _timed(pairs: Sequence[Pair]) -> Timed:
    used = sum(pair.ours_s + pair.theirs_s for pair in pairs)
    return Timed(seconds={}, cpu_share=used / sum(pair.elapsed_s for pair in pairs))


def _measurements(speeds: dict[str, Spread]) -> list[Measurement]:
    compared = limits.ratios(speeds, (THEIRS,))
    return [
        Measurement(
            variant=name,
            quantity="real tokens a second",
            unit="tokens/s",
            spread=spread,
            against=compared[name],
        )
        for name, spread in speeds.items()
    ]


def _notes(pairs: Sequence[Pair]) -> list[str]:
    apart = max(abs(pair.ours_loss - pair.theirs_loss) / abs(pair.theirs_loss) for pair in pairs)
    return [
        f"Same model, weights, batches and learning rates in both; {len(pairs)} steps, the first not timed. Loss "
        f"{pairs[0].theirs_loss:.4f} to {pairs[-1].theirs_loss:.4f}, at most {apart:.1e} apart (relative) at any step.",
        f"The artifact's manner: rows padded to {ROW_TOKENS} tokens, every position projected, the model's own "
        "cross-entropy computed and dropped, DeCE on whole logits. Its mean divides by all positions; here it "
        "divides by the supervised ones, on purpose, for the losses to be equal.",
    ]
