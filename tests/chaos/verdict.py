"""What is found when everything has healed: each promise, counted."""

import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

import psycopg

from deploy.contract import layout
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import S3Settings
from service.jobs.verification import verify_result
from service.work.ends import TERMINAL
from service.work.stored import BadResult
from tests.chaos.clients import Ledger
from tests.chaos.clients import submit
from tests.chaos.parts import BUCKET
from tests.chaos.parts import Install

STUCK_S: Final = 150.0
"""Seconds in which one at least of the jobs that wait for each other has to end; the longest pause before another attempt is 60."""
ASK_S: Final = 60.0
TWO_TICKS_S: Final = 4.0


@dataclass(slots=True, kw_only=True)
class Verdict:
    """Counts; those of :attr:`broken` must be nought."""

    minutes: float
    seed: int
    submissions: int = 0
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    duplicated: int = 0
    results_written_over: int = 0
    unverified: int = 0
    stuck: int = 0
    orphans: int = 0
    cancelled_and_served: int = 0
    wrong_answers: int = 0
    heal_p95_s: float = 0.0
    details: list[str] = field(default_factory=list)

    BROKEN = (
        "lost",
        "duplicated",
        "results_written_over",
        "unverified",
        "stuck",
        "orphans",
        "cancelled_and_served",
        "wrong_answers",
    )

    @property
    def broken(self) -> dict[str, int]:
        """What must not be, and how often it was."""
        return {name: getattr(self, name) for name in self.BROKEN if getattr(self, name)}

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    def table(self) -> str:
        """For people."""
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        rows = [
            ("submissions accepted", self.submissions),
            ("requests made for them", self.requests),
            ("succeeded / failed / cancelled", f"{self.succeeded} / {self.failed} / {self.cancelled}"),
            ("faults injected", f"{sum(self.faults.values())} ({faults})"),
            *((name.replace("_", " "), getattr(self, name)) for name in self.BROKEN),
            ("time to heal, p95", f"{self.heal_p95_s:.1f} s"),
        ]
        return "\n".join(f"{name:32} {value}" for name, value in rows)


def judge(install: Install, ledger: Ledger, faults: Counter[str], *, minutes: float, seed: int) -> Verdict:
    """Wait until all is over, and count."""
    verdict = Verdict(minutes=minutes, seed=seed, faults=dict(faults))
    healed_at = time.monotonic()
    _ask_again(install, ledger, verdict)
    over = _wait_until_over(install, healed_at)
    rows = _rows(install)
    verdict.submissions, verdict.requests = len(ledger.accepted), ledger.tries
    statuses = Counter(status for status, _ in rows.values())
    verdict.succeeded, verdict.failed = statuses["succeeded"], statuses["failed"]
    verdict.cancelled = statuses["cancelled"]
    verdict.stuck = sum(status not in TERMINAL for status, _ in rows.values())
    verdict.lost = len(set(ledger.accepted.values()) - rows.keys())
    by_key = Counter(key for _, key in rows.values())
    verdict.duplicated = sum(count - 1 for count in by_key.values())
    verdict.wrong_answers = len(ledger.wrong)
    verdict.details += ledger.wrong[:5]
    verdict.heal_p95_s = over[min(len(over) - 1, int(0.95 * len(over)))] if over else 0.0
    _count_results(install, rows, verdict)
    _count_cancelled(install, ledger, rows, verdict)
    time.sleep(TWO_TICKS_S)
    left = install.job_processes()
    verdict.orphans = len([each for each in left if each.pid not in {twin.pid for twin in install.twins}])
    return verdict


def _ask_again(install: Install, ledger: Ledger, verdict: Verdict) -> None:
    """Requests without an answer get one now; so every row has a key that somebody knows the job of."""
    until = time.monotonic() + ASK_S
    for key in ledger.bodies.keys() - ledger.accepted.keys():
        while submit(install.urls[0], key, ledger) is None:
            if time.monotonic() > until:
                verdict.details.append(f"{key} is never answered")
                ledger.wrong.append(f"{key} is never answered")
                break
            time.sleep(0.3)


def _rows(install: Install) -> dict[str, tuple[str, str]]:
    """Status and key of every job."""
    query = "SELECT id, status, metadata ->> 'key' FROM jobs"
    return {
        str(job): (str(status), str(key))
        for job, status, key in install.postgres.execute(query, name="chaos")
    }


def _wait_until_over(install: Install, healed_at: float) -> list[float]:
    """How long it took each job that was not over, in order. Gives up when none of them ends for long."""
    took: dict[str, float] = {}
    left, last_end = None, time.monotonic()
    while left != 0 and time.monotonic() - last_end < STUCK_S:
        going_on = {job for job, (status, _) in _rows(install).items() if status not in TERMINAL}
        now = time.monotonic()
        took |= dict.fromkeys(going_on, now - healed_at)
        if len(going_on) != left:
            left, last_end = len(going_on), now
        time.sleep(0.25)
    return sorted(took.values())


def _count_results(install: Install, rows: dict[str, tuple[str, str]], verdict: Verdict) -> None:
    client = s3_client(S3Settings(endpoint_url=install.s3_url))
    versions: Counter[str] = Counter()
    pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix="temper/jobs/")
    for page in pages:
        versions.update(each["Key"] for each in page.get("Versions", []))
    for job, (status, _) in rows.items():
        key = layout.result_key(job)
        if versions[f"temper/{key}"] > 1:
            verdict.results_written_over += 1
            verdict.details.append(f"{key} has {versions[f'temper/{key}']} versions")
        if status == "succeeded":
            try:
                verify_result(install.store, job)
            except BadResult as error:
                verdict.unverified += 1
                verdict.details.append(f"{job} has succeeded: {error}")


def _count_cancelled(
    install: Install, ledger: Ledger, rows: dict[str, tuple[str, str]], verdict: Verdict
) -> None:
    with closing(psycopg.connect(install.database_url.replace("+psycopg", ""))) as connection:
        served = {row[0] for row in connection.execute("SELECT job_id FROM models").fetchall()}
    for job in ledger.cancelled:
        if job in served or rows.get(job, ("", ""))[0] != "cancelled":
            verdict.cancelled_and_served += 1
            verdict.details.append(f"{job} was cancelled and is {rows.get(job)}")
