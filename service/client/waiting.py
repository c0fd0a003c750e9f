"""Waiting for a job or a scan to end, with a line that says how far it is."""

import time
from collections.abc import Callable
from typing import Any
from typing import Final

from service.client.connection import Connection
from service.client.connection import Unreachable
from service.reports.visible import one_line

POLL_S: Final = 2.0
PATIENCE_S: Final = 60.0
"""A service may be restarted meanwhile; its jobs go on."""
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})


class TooLate(Exception):  # noqa: N818 - it names a state
    """It has not ended within the time that was given."""


def wait_for_job(
    connection: Connection,
    job_id: str,
    *,
    timeout_s: float | None,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the job has ended, one way or another, or when the service says that there is none.

    Raises:
        TooLate: after ``timeout_s``.
        Unreachable: the service has been gone for longer than a restart takes.
    """
    wait_until_ended(
        connection,
        f"/v1/fine_tuning/jobs/{job_id}",
        describe=progress_line,
        poll_s=POLL_S,
        timeout_s=timeout_s,
        tell=tell,
        clock=clock,
        sleep=sleep,
    )


def wait_until_ended(
    connection: Connection,
    path: str,
    *,
    describe: Callable[[dict[str, Any]], str],
    poll_s: float,
    timeout_s: float | None,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when what lies at ``path`` has ended, one way or another, or when the service says that there is none.

    Args:
        connection: to the service.
        path: of a job or a scan.
        describe: how far it is, in words.
        poll_s: seconds between two looks.
        timeout_s: after which it is given up.
        tell: gets the words.
        clock: seconds that only go forward.
        sleep: waits that long.

    Raises:
        TooLate: after ``timeout_s``.
        Unreachable: the service has been gone for longer than a restart takes.
    """
    started = answered = clock()
    while True:
        try:
            answer = connection.get(path)
            answered = clock()
        except Unreachable:
            if clock() - answered > PATIENCE_S:
                raise
        else:
            # Anything but what was asked for and an overloaded service is for the next request to explain.
            if answer.status != 200 and answer.status < 500:
                return
            if answer.status == 200:
                shown = answer.document()
                if shown.get("status") in ENDED:
                    return
                tell(describe(shown))
        if timeout_s is not None and clock() - started + poll_s > timeout_s:
            raise TooLate
        sleep(poll_s)


def progress_line(job: dict[str, Any]) -> str:
    """Phase and, for every arm, how many of its steps are done."""
    hardening = job.get("hardening")
    if not isinstance(hardening, dict):
        return one_line(str(job.get("status")))
    parts = [one_line(str(hardening.get("phase") or job.get("status")), limit=60)]
    if hardening.get("waiting"):
        parts.append(one_line(str(hardening["waiting"]), limit=120))
    progress = hardening.get("progress")
    for arm, numbers in progress.items() if isinstance(progress, dict) else ():
        step, total = (
            (numbers.get("step"), numbers.get("total_steps")) if isinstance(numbers, dict) else (0, 0)
        )
        if isinstance(step, int | float) and isinstance(total, int | float) and total > 0:
            parts.append(f"{one_line(str(arm), limit=20)} {100 * step / total:.0f} %")
    return ", ".join(parts)
