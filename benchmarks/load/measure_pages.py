"""Section ``pages``: whether the last page of ten thousand jobs costs more than the first."""

import json
import time
from contextlib import closing
from typing import Final

from benchmarks.fleet import file_row
from benchmarks.fleet import job_row
from benchmarks.load.place import Place
from benchmarks.load.traffic import Asked
from benchmarks.load.traffic import ask
from benchmarks.load.traffic import connect
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import finish
from benchmarks.timing import Variant
from benchmarks.timing import ratio_of
from benchmarks.timing import scaled
from benchmarks.timing import take_turns
from service.database import Database
from service.tables import JobRow

PAGE: Final = 20
LIMIT: Final = 1.5
"""Of the last page against the first; what is more is not the table's length but a scan of it."""
ASKED: Final = 20
"""Times in a round: one page is too short to be timed."""


def fill(place: Place, jobs: int) -> None:
    """So many jobs that have ended, straight into the database."""
    with closing(Database(place.database_url)) as database:
        with database.writing() as session:
            session.add(file_row())
        for begin in range(0, jobs, 1000):
            with database.writing() as session:
                session.add_all(_ended(number) for number in range(begin, min(jobs, begin + 1000)))


def _ended(number: int) -> JobRow:
    row = job_row(f"ftjob-{number:032x}")
    row.status, row.phase, row.launched_at = "cancelled", None, None
    row.created_at, row.finished_at = 1_700_000_000 + number, 1_700_000_000 + number
    return row


def measure_pages(place: Place, settings: Settings, watch: Watch, *, jobs: int) -> Section:
    """The first page and the last by turns."""
    rounds = settings.rounds
    watch.progress.begin("pages", 2 * rounds)
    connection = connect(place)
    last = f"&after=ftjob-{PAGE:032x}"

    def page(after: str) -> None:
        for _ in range(ASKED):
            status, body = ask(
                connection, Asked(method="GET", path=f"/v1/fine_tuning/jobs?limit={PAGE}{after}")
            )
            if status != 200 or len(json.loads(body)["data"]) != PAGE:
                raise RuntimeError(f"a page was answered {status}: {body[:200]!r}")

    variants = [
        Variant(name="the first page", run=lambda: page("")),
        Variant(name="the last page", run=lambda: page(last)),
    ]
    timed = take_turns(variants, rounds=rounds, tick=watch.tick, clock=time.perf_counter)
    connection.close()
    spreads = {name: scaled(each, 1e3 / ASKED) for name, each in timed.seconds.items()}
    return finish(
        "pages",
        "A long table of jobs",
        shape={"jobs": f"{jobs:,}", "a page": PAGE},
        settings=settings,
        watch=watch,
        timed=None,
        measurements=[
            Measurement(variant=name, quantity="a page", unit="ms", spread=each)
            for name, each in spreads.items()
        ],
        bars=[
            Bar(
                what="the last page / the first",
                measured=ratio_of(spreads["the last page"], spreads["the first page"]),
                limit=LIMIT,
            )
        ],
        notes=[],
        failures=[],
    )
