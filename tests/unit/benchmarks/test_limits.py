"""Bars."""

import pytest

from benchmarks import limits
from benchmarks.head import VARIANTS
from benchmarks.limits import Limit
from benchmarks.limits import judge
from benchmarks.limits import ratios
from benchmarks.record import Bar
from benchmarks.timing import spread_of


def test_bars_are_judged_where_both_variants_were_measured() -> None:
    wanted = (
        Limit(variant="ours", against="theirs", limit=0.5),
        Limit(variant="ours", against="missing", limit=0.5),
    )
    bars = judge("time", wanted, {"ours": spread_of([1.0, 1.2]), "theirs": spread_of([2.0, 2.0])})
    assert [bar.what for bar in bars] == ["time: ours / theirs"]
    assert bars[0].measured.median == pytest.approx(0.55)
    assert not bars[0].met


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(5.0, True, True), (4.9, True, False), (4.9, False, True)]
)
def test_a_bar_has_a_direction(value: float, at_least: bool, met: bool) -> None:
    assert Bar(what="x", measured=spread_of([value]), limit=5.0, at_least=at_least).met is met


def test_ratios_to_the_baselines_that_were_measured() -> None:
    measured = {"a": spread_of([1.0, 1.0]), "b": spread_of([4.0, 4.0])}
    assert ratios(measured, ("b", "absent")) == {"a": {"b": 0.25}, "b": {"b": 1.0}}


def test_every_limit_of_the_head_names_variants_that_exist() -> None:
    for one in (*limits.HEAD_TIME, *limits.HEAD_MEMORY):
        assert {one.variant, one.against} <= set(VARIANTS)
