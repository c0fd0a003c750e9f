import math

import numpy as np
import pytest

from training.metrics.bootstrap import Interval
from training.metrics.bootstrap import mean_interval
from training.metrics.bootstrap import paired_difference
from training.metrics.bootstrap import paired_difference_over_runs

TRUTH = 1.0


def coverage(runs: int, tasks: int, *, of_runs: float, of_tasks: float, noise: float) -> float:
    """How often the interval holds the truth, over samples of a known world."""
    generator = np.random.default_rng(0)
    samples = 150
    held = 0
    for sample in range(samples):
        scores = (
            TRUTH
            + of_runs * generator.normal(size=(runs, 1))
            + of_tasks * generator.normal(size=(1, tasks))
            + noise * generator.normal(size=(runs, tasks))
        )
        interval = mean_interval(scores.tolist(), seed=sample, resamples=300)
        held += interval.lower <= TRUTH <= interval.upper
    return held / samples


@pytest.mark.parametrize(
    ("runs", "tasks", "of_runs", "of_tasks", "noise"),
    [
        (1, 30, 0.0, 1.0, 0.0),
        (3, 50, 1.0, 1.0, 1.0),
        (3, 50, 0.0, 1.0, 1.0),
        (2, 50, 1.0, 0.5, 0.5),
        (5, 40, 0.3, 1.0, 1.0),
    ],
)
def test_a_95_percent_interval_holds_the_truth_that_often(
    runs: int, tasks: int, of_runs: float, of_tasks: float, noise: float
) -> None:
    # 0.95 less three standard errors of 150 samples; more than 95 % is allowed, that is the bootstrap's known side.
    assert coverage(runs, tasks, of_runs=of_runs, of_tasks=of_tasks, noise=noise) >= 0.95 - 3 * 0.0178


def test_the_interval_is_about_as_wide_as_students() -> None:
    scores = np.random.default_rng(1).normal(size=60)
    interval = mean_interval([scores.tolist()], seed=0)
    half = 2.0010 * scores.std(ddof=1) / math.sqrt(60)
    assert interval.mean == pytest.approx(scores.mean())
    assert (interval.upper - interval.lower) / 2 == pytest.approx(half, rel=0.05)


def test_what_tasks_have_in_common_is_not_averaged_away_by_more_runs() -> None:
    tasks = np.random.default_rng(2).normal(size=80).tolist()
    one = mean_interval([tasks], seed=0)
    three = mean_interval([tasks, tasks, tasks], seed=0)
    assert three.upper - three.lower == pytest.approx(one.upper - one.lower, rel=0.05)


def test_differences_are_paired() -> None:
    theirs = np.random.default_rng(3).normal(scale=30, size=100)
    ours = theirs + 1.0 + 0.1 * np.random.default_rng(4).normal(size=100)
    interval = paired_difference(ours.tolist(), theirs.tolist(), seed=0)
    assert interval.lower < 1.0 < interval.upper
    assert interval.upper - interval.lower < 0.1
    assert interval.excludes_zero
    assert not paired_difference(theirs.tolist(), theirs.tolist(), seed=0).excludes_zero


def test_differences_over_runs_are_those_of_the_runs() -> None:
    generator = np.random.default_rng(5)
    ours, theirs = generator.normal(size=(3, 20)), generator.normal(size=(3, 20))
    expected = mean_interval((ours - theirs).tolist(), seed=9)
    assert paired_difference_over_runs(ours.tolist(), theirs.tolist(), seed=9) == expected


def test_the_seed_decides() -> None:
    scores = [[float(number % 7) for number in range(50)]]
    first, again, other = (mean_interval(scores, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.mean == other.mean


def test_many_tasks_are_drawn_in_parts() -> None:
    scores = np.random.default_rng(6).normal(size=(1, 5000))
    interval = mean_interval(scores.tolist(), seed=0, resamples=1000)
    assert interval.upper - interval.lower == pytest.approx(2 * 1.96 / math.sqrt(5000), rel=0.15)


def test_equal_scores_have_no_width() -> None:
    assert mean_interval([[2.0, 2.0, 2.0]], seed=0) == Interval(mean=2.0, lower=2.0, upper=2.0)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], "at least one run"),
        ([[]], "two or more tasks"),
        ([[1.0]], "two or more tasks"),
        ([[1.0, 2.0], [1.0]], "same"),
        ([[1.0, math.nan]], "not finite"),
        ([[1.0, math.inf]], "not finite"),
    ],
)
def test_refuses_what_has_no_interval(scores: list[list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mean_interval(scores, seed=0)


def test_refuses_sides_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="against"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], seed=0)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([[1.0, 2.0]], seed=0, confidence=1.0)
