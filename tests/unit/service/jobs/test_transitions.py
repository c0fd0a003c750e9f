"""Every wish of a user in every state of a job: what the table says, and 409 for all else."""

from itertools import product
from typing import Any

import pytest

from service.tables import JobRow

STATUSES = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")
ENDED = {"succeeded", "failed", "cancelled"}
PHASES = {"validating_files": "validating", "running": "training"}


def expected(status: str, wish: str, paused: bool) -> tuple[int, str]:
    """The status of the answer, and that of the job afterwards."""
    if wish == "cancel":
        return (409, status) if status in ENDED - {"cancelled"} else (200, "cancelled")
    if status in ENDED or (wish == "resume" and not paused):
        return 409, status
    return 200, status


@pytest.mark.parametrize(("status", "paused"), list(product(STATUSES, (False, True))))
def test_d6_every_wish_in_every_state_is_granted_by_the_table_or_refused(
    world: Any, status: str, paused: bool
) -> None:
    job = world.create()["id"]
    for wish in ("cancel", "pause", "resume"):
        with world.context.database.writing() as session:
            row = session.get(JobRow, job)
            row.status, row.phase, row.pause_requested = status, PHASES.get(status, status), paused
        answer = world.api.post(f"/v1/fine_tuning/jobs/{job}/{wish}")
        code, after = expected(status, wish, paused)
        assert answer.status_code == code, (wish, answer.text)
        with world.context.database.reading() as session:
            row = session.get(JobRow, job)
            assert row.status == after
            wanted = {"pause": True, "resume": False}.get(wish, paused) if code == 200 else paused
            assert row.pause_requested is wanted


def test_d6_wishes_for_a_job_that_is_not_there_change_nothing(world: Any) -> None:
    for wish in ("cancel", "pause", "resume"):
        assert world.api.post(f"/v1/fine_tuning/jobs/ftjob-none/{wish}").status_code == 404
