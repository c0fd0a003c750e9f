"""Section ``reconcile``: what a tick costs with a thousand jobs in flight, each of which tells its progress."""

import gc
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final

from benchmarks.fleet import Fleet
from benchmarks.fleet import fleet
from benchmarks.fleet import store_calls
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import finish
from benchmarks.timing import Spread
from benchmarks.timing import Timed
from benchmarks.timing import Variant
from benchmarks.timing import ratio_of
from benchmarks.timing import scaled
from benchmarks.timing import spread_of
from benchmarks.timing import take_turns

LATENCY_S: Final = 0.005
"""Of every call of the store: an S3 in the same region."""
TICK_LIMIT_S: Final = 2.0
PER_JOB_LIMIT: Final = 0.5
"""Of a job among many against one among few: a tick is to cost what has changed, not what there is."""
MEMORY_LIMIT_MIB: Final = 1.0
ROUNDS_FACTOR: Final = 2
"""A tick is short: so many more rounds than were asked for."""
MEMORY_TICKS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileShape:
    """How many jobs are compared with how many."""

    few: int
    many: int
    latency_s: float = LATENCY_S


@dataclass(slots=True)
class Costs:
    """Of ticks, one figure for each."""

    calls: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    """Of all threads; of a busy machine it says more than what elapsed."""


FULL: Final = ReconcileShape(few=100, many=1000)
QUICK: Final = ReconcileShape(few=10, many=40)


def measure_reconcile(settings: Settings, watch: Watch, *, shape: ReconcileShape | None = None) -> Section:
    """Warm up, then time by turns."""
    shape = shape or (QUICK if settings.quick else FULL)
    rounds = settings.rounds * ROUNDS_FACTOR
    with tempfile.TemporaryDirectory(prefix="temper-bench-") as work, ExitStack() as stack:
        watch.progress.begin("reconcile", 2 + 3 * rounds + MEMORY_TICKS)
        fleets = {}
        for jobs in (shape.few, shape.many):
            home = Path(work) / str(jobs)
            fleets[jobs] = stack.enter_context(fleet(home, jobs=jobs, latency_s=shape.latency_s))
            fleets[jobs].tick()
            watch.tick(f"{jobs} jobs are begun")
        costs = {jobs: Costs() for jobs in fleets}
        timed = take_turns(_variants(fleets, costs), rounds=rounds, tick=watch.tick, clock=time.perf_counter)
        memory = _memory_mib(fleets[shape.many], lambda: watch.tick("a tick, memory counted"))
    return _section(settings, watch, shape, timed, costs, memory)


def _variants(fleets: dict[int, Fleet], costs: dict[int, Costs]) -> list[Variant]:
    def ticking(jobs: int, of: Fleet) -> Callable[[], None]:
        def tick() -> None:
            calls, processor_s = store_calls(of.context), time.process_time()
            of.tick()
            costs[jobs].calls.append(float(store_calls(of.context) - calls))
            costs[jobs].processor_s.append(time.process_time() - processor_s)

        return tick

    many = fleets[max(fleets)]
    found = [
        Variant(name=_tick_of(jobs), run=ticking(jobs, each), prepare=each.live)
        for jobs, each in fleets.items()
    ]
    return [*found, Variant(name=_asking(max(fleets)), run=many.ask_each)]


def _tick_of(jobs: int) -> str:
    return f"a tick, {jobs:,} jobs"


def _asking(jobs: int) -> str:
    return f"asking the store for each of {jobs:,} jobs"


def _memory_mib(of: Fleet, tick: Callable[[], None]) -> Spread:
    """What ticks leave behind: the second half against the first, so that what fills up once does not count."""
    tracemalloc.start()
    try:
        sizes = []
        for number in range(MEMORY_TICKS):
            of.live()
            of.tick()
            tick()
            if number in {MEMORY_TICKS // 2 - 1, MEMORY_TICKS - 1}:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return spread_of([(sizes[1] - sizes[0]) / 2**20])


def _section(  # noqa: PLR0917 - one caller, which has them all
    settings: Settings,
    watch: Watch,
    shape: ReconcileShape,
    timed: Timed,
    costs: dict[int, Costs],
    memory: Spread,
) -> Section:
    few, many, asking = _tick_of(shape.few), _tick_of(shape.many), _asking(shape.many)
    seconds = timed.seconds
    per_job = {
        name: scaled(seconds[name], 1e3 / jobs) for name, jobs in ((few, shape.few), (many, shape.many))
    }
    measurements = [
        *(
            Measurement(variant=name, quantity="elapsed", unit="s", spread=each)
            for name, each in seconds.items()
        ),
        *(
            Measurement(variant=name, quantity="elapsed for each job", unit="ms", spread=each)
            for name, each in per_job.items()
        ),
        *(
            Measurement(
                variant=_tick_of(jobs),
                quantity="processor time",
                unit="s",
                spread=spread_of(each.processor_s),
            )
            for jobs, each in costs.items()
        ),
        *(
            Measurement(
                variant=_tick_of(jobs),
                quantity="calls of the store",
                unit="calls",
                spread=spread_of(each.calls),
            )
            for jobs, each in costs.items()
        ),
    ]
    bars = [
        Bar(what=many, measured=seconds[many], limit=TICK_LIMIT_S, unit="s"),
        Bar(
            what=f"for each job, {shape.many:,} / {shape.few:,} jobs",
            measured=ratio_of(per_job[many], per_job[few]),
            limit=PER_JOB_LIMIT,
        ),
        Bar(what=f"{many} / {asking}", measured=ratio_of(seconds[many], seconds[asking]), limit=0.5),
        Bar(
            what=f"memory that {MEMORY_TICKS // 2} ticks leave behind",
            measured=memory,
            limit=MEMORY_LIMIT_MIB,
            unit="MiB",
        ),
    ]
    return finish(
        "reconcile",
        "The reconciler with a thousand jobs in flight",
        shape={"jobs": shape.many, "latency of the store": f"{1e3 * shape.latency_s:g} ms"},
        settings=settings,
        watch=watch,
        timed=None,
        measurements=measurements,
        bars=bars,
        notes=[
            "Every job runs, and writes five events every five seconds, a tick a second. Real rows in SQLite, real "
            "objects in a directory, answers delayed; the launcher only remembers. Asking for each job is what a tick "
            "did before it listened by turns: two calls, one after the other.",
        ],
        failures=[],
    )
