"""The reconcile section, with a handful of jobs: it measures a reconciler that really works."""

import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func
from sqlalchemy import select

from benchmarks import measure_reconcile
from benchmarks.fleet import EVENTS
from benchmarks.fleet import fleet
from benchmarks.fleet import store_calls
from benchmarks.measure_reconcile import ReconcileShape
from benchmarks.session import Settings
from benchmarks.session import Watch
from service.tables import JobEventRow
from service.tables import JobRow


class Silent:
    """A progress that nobody sees."""

    def begin(self, title: str, steps: int) -> None:
        """So many steps."""

    def step(self, doing: str) -> None:
        """One is done."""


def test_the_jobs_of_a_fleet_go_on_and_are_heard(tmp_path: Path) -> None:
    with fleet(tmp_path / "home", jobs=5, latency_s=0.0) as jobs:
        for _ in range(5):
            jobs.live()
            jobs.tick()
        jobs.reconciler.settle()
        jobs.tick()
        with jobs.context.database.reading() as session:
            events = session.scalar(select(func.count()).select_from(JobEventRow))
            rows = list(session.scalars(select(JobRow)))
    assert events == 5 * 2 * EVENTS
    assert {row.status for row in rows} == {"running"}
    assert {row.progress["hardened"]["step"] for row in rows if row.progress} == {2 * EVENTS - 1}
    assert store_calls(jobs.context) > 0


def test_the_section_says_what_a_tick_costs() -> None:
    shape = ReconcileShape(few=2, many=6, latency_s=0.001)
    watch = Watch(progress=Silent(), cores=1, read_load=lambda: 0.0)
    section = measure_reconcile.measure_reconcile(Settings(rounds=1, quick=True), watch, shape=shape)
    assert not section.failures
    assert [bar.unit for bar in section.bars] == ["s", "x", "x", "MiB"]
    assert section.bars[0].met, "six jobs in less than two seconds"
    calls = [one for one in section.measurements if one.quantity == "calls of the store"]
    assert all(one.spread.median >= 1 for one in calls)


@pytest.mark.slow
def test_e16_a_tick_over_a_thousand_jobs_takes_less_than_two_seconds_in_flat_memory(tmp_path: Path) -> None:
    """Of processor time: how long the machine is lent to others meanwhile says nothing of a tick."""
    with fleet(tmp_path / "home", jobs=1000, latency_s=0.0) as jobs:

        def tick() -> float:
            jobs.live()
            began_s = time.process_time()
            jobs.tick()
            return time.process_time() - began_s

        tick()
        costs = [tick() for _ in range(3)]
        process = psutil.Process()
        before = process.memory_info().rss
        for _ in range(6):
            tick()
        grown = process.memory_info().rss - before
    assert min(costs) < 2.0, costs
    assert grown < 32 << 20, f"{grown >> 20} MiB"
