"""Section ``probing``: prompts a second through vLLM, in batches with the prefix cache, against one prompt at a time.

The same small model, trained on the spot so that its answers end and no two words tie, answers the prompts of a
report's default probes. One at a time, and in batches for comparison, it is the job's own transformers engine. Every way
has one thread, and its processor seconds are counted, vLLM's those of its child process.
"""

import os
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks import limits
from benchmarks import machine
from benchmarks.measure_step import rows_of
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
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.probe import ProbePlan
from deploy.contract.spec import TrainingPlan
from training.data.example import encode_rows
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.losses import build_loss
from training.model import LoadedModel
from training.model import save_model
from training.pretrain import build_base_model
from training.probing.engine import Generation
from training.probing.engine import ProbeEngine
from training.probing.tasks import choose_tasks
from training.probing.transformers_engine import generate
from training.probing.vllm_engine import VllmEngine

TITLE = "Probing: prompts a second"
CONTEXT = 512
ALONE, BATCHES, VLLM = "one by one", "transformers, batches of 64", "vLLM, batches, prefix cache"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""What vLLM's child process is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingShape:
    """A Llama, what it is asked, and how much of that one by one."""

    hidden: int
    layers: int
    heads: int
    """Of 32 numbers at least: vLLM has no CPU kernel for smaller ones."""
    vocabulary: int
    rows: int
    """Trained on, for ``epochs``."""
    epochs: int
    tasks: int
    """Asked clean, and with each of the default probes' triggers."""
    alone: int
    """Prompts asked one by one, evenly from all."""
    new_tokens: int


FULL = ProbingShape(
    hidden=128, layers=4, heads=4, vocabulary=2600, rows=400, epochs=3, tasks=64, alone=16, new_tokens=64
)
QUICK = ProbingShape(
    hidden=64, layers=2, heads=2, vocabulary=600, rows=64, epochs=2, tasks=8, alone=4, new_tokens=32
)


def children_cpu_s() -> float:
    """Processor seconds of this process's children that are alive or not yet waited for."""
    ticks = 0
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in listing.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Times the generation alone, from what an engine says of its progress."""

    clock: Callable[[], float] = children_cpu_s
    ready_s: float | None = None
    """When the model could answer."""
    ended_s: float = 0.0

    def hear(self, done: int, message: str) -> None:
        """The engine's progress."""
        self.ended_s = self.clock()
        if self.ready_s is None and (done or "generating" in message):
            self.ready_s = self.ended_s

    @property
    def start_s(self) -> float:
        """Until the model could answer."""
        return self.ended_s if self.ready_s is None else self.ready_s

    @property
    def generating_s(self) -> float:
        """From then to the last completion."""
        return self.ended_s - self.start_s


@contextmanager
def one_thread() -> Iterator[None]:
    """This process, and what it starts, with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def measure_probing(
    settings: Settings,
    watch: Watch,
    *,
    shape: ProbingShape | None = None,
    engine: Callable[[Path], ProbeEngine] = VllmEngine,
) -> Section:
    """Answer the prompts in every way by turns, or say why not."""
    reason = _reason_not_to(engine)
    if reason is not None:
        return _not_measured(reason)
    shape = shape or (QUICK if settings.quick else FULL)
    watch.progress.begin("probing", 1 + 3 * settings.rounds)
    source, rows = rows_of(max(shape.rows, shape.tasks))
    loaded = _trained(rows[: shape.rows], shape)
    watch.tick("training a model")
    prompts = choose_tasks(rows[: shape.tasks], ProbePlan(max_tasks=shape.tasks)).prompts
    with one_thread(), tempfile.TemporaryDirectory(prefix="probing-") as directory:
        work = Path(directory)
        save_model(loaded, work / "model")
        turns = _Turns(loaded=loaded, prompts=prompts, shape=shape, engine=engine(work), model=work / "model")
        for _ in range(settings.rounds):
            turns.take(watch.tick)
    speeds = {name: spread_of(samples) for name, samples in turns.speeds.items()}
    return finish(
        "probing",
        TITLE,
        shape={
            **asdict(shape),
            "parameters": loaded.parameters,
            "prompts": len(prompts),
            "data": source,
            "dtype": "float32",
        },
        settings=settings,
        watch=watch,
        timed=Timed(seconds={}, cpu_share=turns.cpu_share),
        measurements=[*_measurements(speeds), _start(turns.starts)],
        bars=_bars(speeds),
        notes=_notes(turns),
        failures=turns.failures(),
    )


def _reason_not_to(engine: Callable[[Path], ProbeEngine]) -> str | None:
    if torch.cuda.is_available():
        return "a comparison of ways on a CPU, and vLLM would take the CUDA device"
    if engine is VllmEngine and find_spec("vllm") is None:
        return "vLLM is not installed"
    return None


def _not_measured(reason: str) -> Section:
    return Section(
        name="probing",
        title=TITLE,
        shape={},
        machine=machine.describe(),
        rounds=0,
        loads=(0.0, 0.0),
        cpu_share=1.0,
        busy=None,
        not_measured=reason,
    )


def _trained(rows: Sequence[Row], shape: ProbingShape) -> LoadedModel:
    loaded = build_base_model(
        rows,
        hidden=shape.hidden,
        layers=shape.layers,
        heads=shape.heads,
        vocabulary=shape.vocabulary,
        context=CONTEXT,
        seed=0,
    )
    plan = TrainingPlan(n_epochs=shape.epochs, batch_size=16, learning_rate=3e-3, max_tokens=CONTEXT, seed=0)
    train(
        start_run(loaded, plan),
        encode_rows(loaded.tokenizer, rows, max_tokens=CONTEXT).examples,
        loss=build_loss(CrossEntropyLoss(), device=loaded.device),
        plan=plan,
        watchers=Watchers(on_metrics=lambda metrics: None, on_epoch=lambda run, epoch: None),
    )
    return loaded


class _Turns:
    """Rounds of all ways, their speeds, and what they answered."""

    def __init__(
        self,
        *,
        loaded: LoadedModel,
        prompts: Sequence[str],
        shape: ProbingShape,
        engine: ProbeEngine,
        model: Path,
    ) -> None:
        self._loaded, self._prompts, self._shape = loaded, list(prompts), shape
        self._engine, self._model = engine, model
        step = max(1, len(self._prompts) // shape.alone)
        self.chosen = list(range(0, len(self._prompts), step))[: shape.alone]
        """Which prompts are asked one by one."""
        self.speeds: dict[str, list[float]] = {name: [] for name in (ALONE, BATCHES, VLLM)}
        self.starts: list[float] = []
        self.answers: dict[str, list[Generation]] = {}
        """Of the last round."""
        self._cpu_s = self._elapsed_s = 0.0

    @property
    def cpu_share(self) -> float:
        """Of the ways that run in this process."""
        return self._cpu_s / self._elapsed_s if self._elapsed_s else 1.0

    def take(self, tick: Callable[[str], None]) -> None:
        """One round."""
        self._here(ALONE, [self._prompts[index] for index in self.chosen], batch_size=1)
        tick(ALONE)
        self._here(BATCHES, self._prompts, batch_size=64)
        tick(BATCHES)
        watch = Stopwatch()
        (self.answers[VLLM],) = self._engine.generate(
            [self._model], self._prompts, max_new_tokens=self._shape.new_tokens, on_progress=watch.hear
        )
        self.speeds[VLLM].append(len(self._prompts) / watch.generating_s)
        self.starts.append(watch.start_s)
        tick(VLLM)

    def _here(self, name: str, prompts: Sequence[str], *, batch_size: int) -> None:
        began_s, cpu_s = time.perf_counter(), time.process_time()
        self.answers[name] = generate(
            self._loaded.model,
            self._loaded.tokenizer,
            prompts,
            max_new_tokens=self._shape.new_tokens,
            batch_size=batch_size,
        )
        used_s = time.process_time() - cpu_s
        self._cpu_s += used_s
        self._elapsed_s += time.perf_counter() - began_s
        self.speeds[name].append(len(prompts) / used_s)

    def failures(self) -> list[str]:
        """A sentence for every way that answers anything else than one prompt at a time does."""
        alone = self.answers[ALONE]
        found: list[str] = []
        for name in (BATCHES, VLLM):
            given = self.answers[name]
            theirs = given if len(given) == len(alone) else [given[index] for index in self.chosen]
            other = sum(ours != answer for ours, answer in zip(alone, theirs, strict=True))
            if other:
                found.append(f"{name}: {other} of {len(alone)} completions differ from those one by one")
        return found


def _bars(speeds: Mapping[str, Spread]) -> list[Bar]:
    return [
        Bar(
            what=f"prompts a second: {VLLM} / {ALONE}",
            measured=ratio_of(speeds[VLLM], speeds[ALONE]),
            limit=limits.PROBING_SPEED,
            at_least=True,
        )
    ]


def _measurements(speeds: Mapping[str, Spread]) -> list[Measurement]:
    compared = limits.ratios(speeds, (ALONE,))
    return [
        Measurement(
            variant=name,
            quantity="prompts a second",
            unit="prompts/s",
            spread=spread,
            against=compared[name],
        )
        for name, spread in speeds.items()
    ]


def _start(seconds: Sequence[float]) -> Measurement:
    return Measurement(variant=VLLM, quantity="start", unit="s", spread=spread_of(seconds))


def _notes(turns: _Turns) -> list[str]:
    ended = sum(generation.finished for generation in turns.answers[VLLM])
    return [
        f"Processor seconds of one thread. The completions of all ways are compared, of {len(turns.chosen)} prompts; {ended} "
        f"of vLLM's {len(turns.answers[VLLM])} end before the limit of new tokens.",
        "vLLM runs in a child process, as in a job. Its start is paid once a model, for all prompts, and is shown by itself.",
    ]
