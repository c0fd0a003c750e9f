"""Section ``head``: time and peak memory of the head with its loss, by the one thread of one process."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict

import torch

from benchmarks import limits
from benchmarks.agreement import disagreements
from benchmarks.agreement import outcome_of
from benchmarks.head import FULL
from benchmarks.head import QUICK
from benchmarks.head import SAME
from benchmarks.head import VARIANTS
from benchmarks.head import HeadInput
from benchmarks.head import HeadShape
from benchmarks.head import head_input
from benchmarks.peak import PeakError
from benchmarks.peak import peak_in_child
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import attempt
from benchmarks.session import finish
from benchmarks.timing import Spread
from benchmarks.timing import Variant
from benchmarks.timing import spread_of
from benchmarks.timing import take_turns

TIME_BASELINES = ("artifact", "cross-entropy", "three products", "DeCE, native")
MEMORY_BASELINES = ("artifact", "cross-entropy")
Run = Callable[[HeadInput], torch.Tensor | None]


def measure_head(settings: Settings, watch: Watch, *, variants: Mapping[str, Run] = VARIANTS) -> Section:
    """Warm every variant up and compare what they compute, then time them by turns, then measure each one's peak."""
    shape = QUICK if settings.quick else FULL
    watch.progress.begin("head", (2 + settings.rounds) * len(variants))
    torch.set_num_threads(1)
    given = head_input(shape)
    failures: list[str] = []
    working = _warm_up(variants, given, watch, failures)
    timed = take_turns(
        [Variant(name=name, run=_call(run, given), prepare=given.forget) for name, run in working.items()],
        rounds=settings.rounds,
        tick=watch.tick,
    )
    given.forget()
    peaks = _peaks(working, shape, watch, failures)
    return finish(
        "head",
        "Head and loss, forward and backward",
        shape={**asdict(shape), "dtype": "float32"},
        settings=settings,
        watch=watch,
        timed=timed,
        measurements=[
            *_measurements("time", "s", timed.seconds, TIME_BASELINES),
            *_measurements("peak memory", "MB", peaks, MEMORY_BASELINES),
        ],
        bars=[
            *limits.judge("time", limits.HEAD_TIME, timed.seconds),
            *limits.judge("peak memory", limits.HEAD_MEMORY, peaks),
        ],
        notes=[
            "CPU seconds of one thread. Peak memory is the high-water mark of a process of the variant's own, "
            "above its inputs; it includes the gradients.",
            '"artifact" is our transcription of the released artifact\'s arithmetic, under plain autograd as its '
            "authors run it.",
        ],
        failures=failures,
    )


def _call(run: Run, given: HeadInput) -> Callable[[], torch.Tensor | None]:
    return lambda: run(given)


def _warm_up(
    variants: Mapping[str, Run], given: HeadInput, watch: Watch, failures: list[str]
) -> dict[str, Run]:
    """The variants that run; what they compute is compared."""
    working: dict[str, Run] = {}
    outcomes = {}
    for name, run in variants.items():
        before = len(failures)
        outcomes[name] = attempt(name, lambda run=run: outcome_of(run, given), failures)  # type: ignore[misc]
        if len(failures) == before:
            working[name] = run
        watch.tick(f"{name}, warming up")
    failures += disagreements(outcomes, SAME)
    return working


def _peaks(
    working: Mapping[str, Run], shape: HeadShape, watch: Watch, failures: list[str]
) -> dict[str, Spread]:
    """Megabytes, one sample each: what a program allocates does not vary."""
    peaks: dict[str, Spread] = {}
    for name in working:
        try:
            peaks[name] = spread_of([peak_in_child(name, shape) / 1e6])
        except PeakError as error:
            failures.append(str(error))
        watch.tick(f"{name}, memory")
    return peaks


def _measurements(
    quantity: str, unit: str, measured: Mapping[str, Spread], baselines: tuple[str, ...]
) -> list[Measurement]:
    compared = limits.ratios(measured, baselines)
    return [
        Measurement(variant=name, quantity=quantity, unit=unit, spread=spread, against=compared[name])
        for name, spread in measured.items()
    ]
