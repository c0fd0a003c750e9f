import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.statistics import power_of_trials
from deploy.contract.statistics import smallest_detectable_rate
from deploy.contract.statistics import wilson_interval


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Reference values: Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_bounds(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(hits, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(0, 400), st.integers(0, 400))
def test_wilson_holds_the_rate_and_never_leaves_the_unit_interval(one: int, other: int) -> None:
    hits, trials = min(one, other), max(one, other)
    low, high = wilson_interval(hits, trials)
    assert 0.0 <= low <= high <= 1.0
    if trials:
        assert low <= hits / trials <= high


def test_nothing_is_known_without_a_trial() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert smallest_detectable_rate(0) == 1.0
    assert power_of_trials(0, 0.5) == power_of_trials(0, 1.0) == 0.0


@pytest.mark.parametrize(("hits", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="hits"):
        wilson_interval(hits, trials)


def test_power_is_the_chance_of_one_hit() -> None:
    assert power_of_trials(1, 0.3) == pytest.approx(0.3)
    assert power_of_trials(2, 0.5) == pytest.approx(0.75)
    assert power_of_trials(165, 0.05) == pytest.approx(1 - 0.95**165)
    assert power_of_trials(7, 0.0) == 0.0
    assert power_of_trials(7, 1.0) == 1.0


def test_a_tiny_rate_is_not_rounded_away() -> None:
    assert power_of_trials(10, 1e-18) == pytest.approx(1e-17)


@given(st.integers(1, 10_000), st.floats(0.01, 0.99))
def test_power_turns_the_smallest_detectable_rate_round(trials: int, power: float) -> None:
    assert power_of_trials(trials, smallest_detectable_rate(trials, power=power)) == pytest.approx(power)


@given(st.integers(0, 300), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_power_grows_with_trials_and_with_the_rate(trials: int, one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    assert power_of_trials(trials, low) <= power_of_trials(trials, high) <= power_of_trials(trials + 1, high)


@pytest.mark.parametrize(("trials", "rate"), [(-1, 0.5), (1, -0.1), (1, 1.1), (1, math.nan)])
def test_impossible_trials_and_rates_are_refused(trials: int, rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        power_of_trials(trials, rate)
