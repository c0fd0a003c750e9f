"""One process of the service as chaos runs it: the real one, but for its jobs' program, its clock and what is switched off.

``CHAOS_AHEAD_S`` sets its machine's clock forward or back; ``CHAOS_OFF`` names mechanisms that do not work.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

from service import embedded
from service.__main__ import main
from service.jobs import verification
from service.roles import reconcile

JOB = Path(__file__).with_name("run.py")


def set_clock() -> None:
    """Of this process; the database's is another."""
    ahead_s, now = float(os.environ.get("CHAOS_AHEAD_S", "0")), time.time
    time.time = lambda: now() + ahead_s


def believe(_store: object, _stored: object) -> None:
    """What a result says of its objects is so."""


def switch_off() -> None:
    """The mechanism that is to be missed."""
    if "hashes" in os.environ.get("CHAOS_OFF", ""):
        verification.verify_result.__kwdefaults__ = {"verify_weights": believe}


if __name__ == "__main__":
    set_clock()
    switch_off()
    command = (sys.executable, str(JOB), os.environ.get("CHAOS_OFF", "nothing"))
    reconcile.reconciler_of = partial(embedded.reconciler_of, job_command=command)  # type: ignore[attr-defined]
    sys.exit(main())
