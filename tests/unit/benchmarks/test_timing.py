"""Rounds, ratios and turns, on a clock that tests move."""

from collections.abc import Iterator

import pytest

from benchmarks.timing import Variant
from benchmarks.timing import ratio_of
from benchmarks.timing import scaled
from benchmarks.timing import spread_of
from benchmarks.timing import take_turns


def test_a_spread_is_median_least_and_quartiles() -> None:
    spread = spread_of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (spread.median, spread.minimum, spread.lower, spread.upper) == (3.0, 1.0, 2.0, 4.0)
    assert spread.samples == (5.0, 1.0, 3.0, 2.0, 4.0)


def test_one_sample_is_its_own_spread() -> None:
    spread = spread_of([7.0])
    assert (spread.median, spread.minimum, spread.lower, spread.upper) == (7.0, 7.0, 7.0, 7.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        spread_of([])


def test_a_ratio_is_taken_round_by_round() -> None:
    """The machine became ten times slower after the second round: the ratio does not see it."""
    ours = spread_of([1.0, 1.0, 10.0, 10.0])
    theirs = spread_of([2.0, 2.0, 20.0, 20.0])
    ratio = ratio_of(ours, theirs)
    assert (ratio.median, ratio.lower, ratio.upper) == (0.5, 0.5, 0.5)


def test_a_ratio_of_other_numbers_of_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio_of(spread_of([1.0]), spread_of([1.0, 2.0]))


def test_scaling_keeps_the_rounds() -> None:
    assert scaled(spread_of([1.0, 3.0]), 2.0).samples == (2.0, 6.0)


class Clock:
    """Seconds that only the variants spend."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def spend(self, name: str, seconds: Iterator[float]) -> None:
        self.order.append(name)
        self.now += next(seconds)


def test_variants_take_turns_and_preparation_is_not_timed() -> None:
    clock = Clock()
    durations = {"a": iter([1.0, 2.0, 3.0]), "b": iter([10.0, 20.0, 30.0])}
    prepared: list[str] = []
    ticked: list[str] = []

    def prepare(name: str) -> None:
        prepared.append(name)
        clock.now += 1000.0

    variants = [
        Variant(
            name=name,
            run=lambda name=name: clock.spend(name, durations[name]),  # type: ignore[misc]
            prepare=lambda name=name: prepare(name),  # type: ignore[misc]
        )
        for name in ("a", "b")
    ]
    timed = take_turns(variants, rounds=3, tick=ticked.append, clock=lambda: clock.now)
    assert timed.seconds["a"].samples == (1.0, 2.0, 3.0)
    assert timed.seconds["b"].samples == (10.0, 20.0, 30.0)
    # Every round begins with another one.
    assert clock.order == ["a", "b", "b", "a", "a", "b"]
    assert prepared == ticked == clock.order


def test_the_share_of_the_core_is_cpu_over_elapsed_time() -> None:
    """A variant that only waits used none of its core."""
    import time

    timed = take_turns([Variant(name="waits", run=lambda: time.sleep(0.05))], rounds=2)
    assert timed.cpu_share < 0.5
