"""The blending weight along a run: published values, the end points per step, and positions that do not exist."""

import math
from itertools import pairwise
from typing import Any

import pytest

from training.losses import AlphaSchedule


@pytest.mark.parametrize(
    ("base", "epoch", "expected"),
    [  # reference values of (1 - a^e) / a^e from the analysis of the published schedule
        (0.995, 1, 0.005),
        (0.995, 10, 0.051),
        (0.995, 20, 0.105),
        (0.99, 10, 0.106),
        (0.99, 20, 0.223),
        (0.985, 20, 0.353),
        (0.98, 20, 0.498),
        (0.8, 1, 0.25),
        (0.8, 20, 85.7),
    ],
)
def test_per_epoch_it_is_the_published_power(base: float, epoch: int, expected: float) -> None:
    alpha = AlphaSchedule(alpha_base=base).alpha(epoch=epoch, step=3, total_steps=7)
    assert alpha == base**epoch
    assert (1 - alpha) / alpha == pytest.approx(expected, rel=1e-2, abs=5e-4)


def test_per_epoch_it_is_constant_within_an_epoch_and_blind_to_the_runs_length() -> None:
    schedule = AlphaSchedule(alpha_base=0.9)
    values = {
        schedule.alpha(epoch=2, step=step, total_steps=total) for step, total in ((1, 1), (5, 9), (9, 9))
    }
    assert values == {0.9**2}


@pytest.mark.parametrize("total_steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("span", [20.0, 3.5])
def test_per_step_a_run_of_any_length_ends_where_the_span_ends(total_steps: int, span: float) -> None:
    schedule = AlphaSchedule(alpha_base=0.9, kind="step", span=span)
    values = [
        schedule.alpha(epoch=1, step=step, total_steps=total_steps) for step in range(1, total_steps + 1)
    ]
    assert values[-1] == pytest.approx(0.9**span)
    assert values[0] == pytest.approx(0.9 ** (span / total_steps))
    ratios = [later / earlier for earlier, later in pairwise(values)]
    assert all(ratio == pytest.approx(0.9 ** (span / total_steps)) for ratio in ratios)


def test_per_step_the_epoch_does_not_matter() -> None:
    schedule = AlphaSchedule(alpha_base=0.9, kind="step")
    assert schedule.alpha(epoch=1, step=4, total_steps=8) == schedule.alpha(epoch=2, step=4, total_steps=8)
    assert schedule.alpha(epoch=1, step=4, total_steps=8) == pytest.approx(0.9**10)


@pytest.mark.parametrize("kind", ["epoch", "step"])
def test_a_position_alone_decides(kind: Any) -> None:
    """A resumed run asks a new schedule for step 5 first and gets what the unbroken run had there."""
    unbroken = AlphaSchedule(alpha_base=0.97, kind=kind)
    for step in range(1, 5):
        unbroken.alpha(epoch=1, step=step, total_steps=10)
    resumed = AlphaSchedule(alpha_base=0.97, kind=kind)
    position = {"epoch": 1, "step": 5, "total_steps": 10}
    assert unbroken.alpha(**position) == resumed.alpha(**position)


@pytest.mark.parametrize("position", [(0, 1, 1), (-1, 1, 1), (1, 0, 5), (1, 6, 5), (1, 1, 0)])
@pytest.mark.parametrize("kind", ["epoch", "step"])
def test_a_position_outside_the_run_is_named(position: tuple[int, int, int], kind: Any) -> None:
    epoch, step, total = position
    with pytest.raises(ValueError, match=f"epoch {epoch}, step {step} of {total}: not a position"):
        AlphaSchedule(alpha_base=0.9, kind=kind).alpha(epoch=epoch, step=step, total_steps=total)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"alpha_base": 0.0}, "alpha_base=0.0"),
        ({"alpha_base": 1.5}, "alpha_base=1.5"),
        ({"alpha_base": math.nan}, "alpha_base=nan"),
        ({"kind": "cosine"}, "schedule='cosine' must be 'epoch' or 'step'"),
        ({"span": 0.0}, "span=0.0"),
        ({"span": -1.0}, "span=-1.0"),
        ({"span": math.nan}, "span=nan"),
    ],
)
def test_a_schedule_that_cannot_be_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        AlphaSchedule(**{"alpha_base": 0.9, **changed})
