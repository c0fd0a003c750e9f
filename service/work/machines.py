"""How long work had machines: the seconds that its GPUs are counted for."""

from collections.abc import Mapping
from typing import Any
from typing import Final

from sqlalchemy import ColumnElement
from sqlalchemy import case

from service.tables import Work
from service.unix_seconds import whole_unix_seconds

AWAY: Final = frozenset(
    {
        "validating",
        "queued",
        "pending",
        "launching",
        "retrying",
        "paused",
        "succeeded",
        "failed",
        "cancelled",
    }
)
"""Phases in which no machine is held; in every other one a run goes on."""


def leaving(row: Work, values: Mapping[str, Any]) -> dict[str, ColumnElement[int]]:
    """What a change of a row adds to its time on machines: all of the attempt's, when it leaves them by this change."""
    there = row.phase is not None and row.phase not in AWAY and row.launched_at is not None
    phase = values.get("phase", row.phase)
    if not there or phase not in AWAY:
        return {}
    since = whole_unix_seconds() - row.launched_at
    # By the database's clock, which nobody sets back for long; never less than before.
    return {"machine_s": type(row).machine_s + case((since > 0, since), else_=0)}
