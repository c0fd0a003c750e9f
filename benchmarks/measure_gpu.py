"""Section ``gpu``: the head on a CUDA device in bf16, against bare products and the artifact's arithmetic.

Written without a device to run it on; where there is none the record says that it was not measured.
"""

import gc
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict

import torch

from benchmarks import limits
from benchmarks import machine
from benchmarks.head import HeadInput
from benchmarks.head import HeadShape
from benchmarks.head import artifact
from benchmarks.head import cross_entropy
from benchmarks.head import head_input
from benchmarks.head import ours
from benchmarks.head import products
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import attempt
from benchmarks.session import finish
from benchmarks.timing import Spread
from benchmarks.timing import ratio_of
from benchmarks.timing import spread_of

TITLE = "Head and loss on a GPU, bf16"
LARGE = HeadShape(rows=8192, hidden=4096, classes=128256)
SMALL = HeadShape(rows=8192, hidden=896, classes=151936)
QUICK = HeadShape(rows=1024, hidden=512, classes=32768)
ROUNDS = 25
Run = Callable[[HeadInput], torch.Tensor | None]


def liger(given: HeadInput) -> torch.Tensor:
    """Liger's fused linear cross-entropy, where it is installed."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss  # type: ignore[import-not-found]

    loss = LigerFusedLinearCrossEntropyLoss()(given.weight_VH, given.hidden_NH, given.targets_N)
    loss.backward()
    return loss.detach()  # type: ignore[no-any-return]


VARIANTS: Mapping[str, Run] = {
    "artifact": artifact,
    "cross-entropy": cross_entropy,
    "Liger's fused cross-entropy": liger,
    "DeCE, torch": ours("torch"),
    "DeCE, triton": ours("triton"),
    "three products": products,
}
OPTIONAL = frozenset({"Liger's fused cross-entropy"})
"""Not ours and not a dependency: left out without a word where it is not installed."""


def _milliseconds(run: Run, given: HeadInput) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    given.forget()
    began.record()
    run(given)
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended))


def _extra_megabytes(run: Run, given: HeadInput) -> float:
    """Peak above the inputs and their gradients."""
    given.forget()
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(given)
    torch.cuda.synchronize()
    gradients = sum(leaf.numel() * leaf.element_size() for leaf in (given.hidden_NH, given.weight_VH))
    return (torch.cuda.max_memory_allocated() - before - gradients) / 1e6


def _measure_shape(
    shape: HeadShape, rounds: int, watch: Watch, failures: list[str]
) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Milliseconds and extra megabytes of every variant that runs."""
    given = head_input(shape, device=torch.device("cuda"), dtype=torch.bfloat16)
    extra: dict[str, Spread] = {}
    for name, run in VARIANTS.items():
        said: list[str] = []
        attempt(name, lambda run=run: _milliseconds(run, given), said)  # type: ignore[misc]
        measured = attempt(name, lambda run=run: _extra_megabytes(run, given), said)  # type: ignore[misc]
        if measured is not None:
            extra[name] = spread_of([measured])
        failures += [] if name in OPTIONAL else said[:1]
        watch.tick(f"{name}, warming up")
    samples: dict[str, list[float]] = {name: [] for name in extra}
    for number in range(rounds):
        names = list(extra)
        first = number % max(len(names), 1)
        for name in (*names[first:], *names[:first]):
            samples[name].append(_milliseconds(VARIANTS[name], given))
            watch.tick(name)
    return {name: spread_of(each) for name, each in samples.items()}, extra


def bars_of(shape: HeadShape, times: Mapping[str, Spread], extra: Mapping[str, Spread]) -> list[Bar]:
    """The wanted ratios of a shape; of a large head also the distance to the products and the memory."""
    ours_time, theirs = times.get("DeCE, triton"), times.get("artifact")
    large = shape.hidden >= LARGE.hidden
    found: list[Bar] = []
    if ours_time is not None and theirs is not None:
        limit = limits.GPU_ARTIFACT if large else limits.GPU_SMALL_ARTIFACT
        found.append(
            Bar(
                what=f"H={shape.hidden}: DeCE, triton / artifact",
                measured=ratio_of(ours_time, theirs),
                limit=limit,
            )
        )
    if large and ours_time is not None and "three products" in times:
        found.append(
            Bar(
                what=f"H={shape.hidden}: DeCE, triton / three products",
                measured=ratio_of(ours_time, times["three products"]),
                limit=limits.GPU_PRODUCTS,
            )
        )
    if large and "DeCE, triton" in extra:
        found.append(
            Bar(
                what=f"H={shape.hidden}: memory beyond inputs and gradients",
                measured=extra["DeCE, triton"],
                limit=limits.GPU_EXTRA_MB,
                unit="MB",
            )
        )
    return found


def measure_gpu(settings: Settings, watch: Watch) -> Section:
    """Measure both heads, or say why not."""
    if not torch.cuda.is_available():
        return Section(
            name="gpu",
            title=TITLE,
            shape={},
            machine=machine.describe(),
            rounds=0,
            loads=(0.0, 0.0),
            cpu_share=1.0,
            busy=None,
            not_measured="no CUDA device",
        )
    shapes = (QUICK,) if settings.quick else (LARGE, SMALL)
    rounds = settings.rounds if settings.quick else max(settings.rounds, ROUNDS)
    watch.progress.begin("gpu", len(shapes) * len(VARIANTS) * (rounds + 1))
    failures: list[str] = []
    measurements: list[Measurement] = []
    bars: list[Bar] = []
    for shape in shapes:
        times, extra = _measure_shape(shape, rounds, watch, failures)
        compared = limits.ratios(times, ("artifact", "cross-entropy", "three products"))
        label = f"H={shape.hidden} V={shape.classes}"
        measurements += [
            Measurement(
                variant=name, quantity=f"time, {label}", unit="ms", spread=one, against=compared[name]
            )
            for name, one in times.items()
        ]
        measurements += [
            Measurement(variant=name, quantity=f"extra memory, {label}", unit="MB", spread=one)
            for name, one in extra.items()
        ]
        bars += bars_of(shape, times, extra)
    return finish(
        "gpu",
        TITLE,
        shape={"shapes": [asdict(shape) for shape in shapes], "dtype": "bfloat16"},
        settings=Settings(rounds=rounds, quick=settings.quick),
        watch=watch,
        timed=None,
        measurements=measurements,
        bars=bars,
        notes=[
            "Milliseconds between CUDA events. Extra memory is the allocator's peak beyond inputs and gradients."
        ],
        failures=failures,
    )
