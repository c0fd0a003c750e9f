"""Timing by turns: every round runs every variant, so that what slows the machine slows them all."""

import gc
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


def _nothing() -> None:
    """The default preparation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to do the work."""

    name: str
    run: Callable[[], Any]
    """Timed."""
    prepare: Callable[[], object] = _nothing
    """Called before every run, not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, extremes and quartiles of the rounds."""

    median: float
    minimum: float
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""
    samples: tuple[float, ...]


def spread_of(samples: Sequence[float]) -> Spread:
    """Summarise the rounds.

    Raises:
        ValueError: there are none.
    """
    if not samples:
        raise ValueError("no samples")
    # Quartiles that lie between samples are interpolated and never outside of them.
    lower, median, upper = (
        statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else list(samples) * 3
    )
    return Spread(median=median, minimum=min(samples), lower=lower, upper=upper, samples=tuple(samples))


def ratio_of(numerator: Spread, denominator: Spread) -> Spread:
    """Their ratio round by round: drift between rounds cancels.

    Raises:
        ValueError: they have different numbers of rounds.
    """
    pairs = zip(numerator.samples, denominator.samples, strict=True)
    return spread_of([above / below for above, below in pairs])


def scaled(spread: Spread, factor: float) -> Spread:
    """In another unit; ``factor`` positive."""
    return spread_of([sample * factor for sample in spread.samples])


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds of every variant, and what share of the elapsed time this process got."""

    seconds: Mapping[str, Spread]
    cpu_share: float
    """CPU seconds over elapsed seconds of all timed runs: well below 1 where others took the core."""


@contextmanager
def _no_collector() -> Iterator[None]:
    """Python's garbage collector strikes whom it likes; tensors go without it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def take_turns(
    variants: Sequence[Variant],
    *,
    rounds: int,
    tick: Callable[[str], None] = lambda name: None,
    clock: Callable[[], float] = time.process_time,
) -> Timed:
    """Run every variant once a round, each round beginning with another one.

    Args:
        variants: warmed up by the caller.
        rounds: at least 1.
        tick: called with a variant's name after each of its runs.
        clock: seconds; CPU seconds of this process unless told.
    """
    samples: dict[str, list[float]] = {variant.name: [] for variant in variants}
    elapsed = 0.0
    for number in range(rounds):
        gc.collect()
        first = number % len(variants) if variants else 0
        for variant in (*variants[first:], *variants[:first]):
            variant.prepare()
            began, start = time.perf_counter(), clock()
            with _no_collector():
                variant.run()
            samples[variant.name].append(clock() - start)
            elapsed += time.perf_counter() - began
            tick(variant.name)
    used = sum(map(sum, samples.values()))
    return Timed(
        seconds={name: spread_of(each) for name, each in samples.items()},
        cpu_share=used / elapsed if elapsed > 0.0 else 1.0,
    )
