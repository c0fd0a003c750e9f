"""All limits of one project, with what is used of them."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import Session

from service.limits.counts import HOUR_S
from service.limits.counts import Counts
from service.limits.numbers import NAMES
from service.limits.numbers import WINDOW_S
from service.limits.numbers import LimitName
from service.limits.numbers import Limits
from service.limits.repository import LimitRepository
from service.limits.schemas import LimitView
from service.limits.schemas import UsageObject

COUNTED: Final[Mapping[LimitName, Callable[[Counts], float]]] = {
    "unfinished_jobs": Counts.unfinished_jobs,
    "running_jobs": Counts.running_jobs,
    "gpu_hours": lambda counts: round(counts.gpu_seconds() / HOUR_S, 3),
    "stored_bytes": Counts.stored_bytes,
    "endpoints": Counts.endpoints,
}
"""What is counted whether it is limited or not; requests and tokens are only counted against a limit."""


def usage_of(session: Session, project: str, defaults: Limits) -> UsageObject:
    """Of one project, within a reading transaction."""
    limits = LimitRepository(session, project)
    own = limits.own()
    merged = defaults.overridden(own)
    return UsageObject(
        project=project,
        limits={
            name: _view(limits, name, merged.of(name), own=name in own, counts=Counts(session, project))
            for name in NAMES
        },
    )


def _view(
    limits: LimitRepository, name: LimitName, limit: int | None, *, own: bool, counts: Counts
) -> LimitView:
    if name in COUNTED:
        return LimitView(limit=limit, own=own, used=COUNTED[name](counts))
    if limit is None:
        return LimitView(limit=None, own=own, used=None)
    if name == "requests_at_once":
        return LimitView(limit=limit, own=own, used=limits.held(name))
    for rate in WINDOW_S:
        if rate == name:
            taken, ends_at = limits.taken(rate)
            return LimitView(limit=limit, own=own, used=taken, resets_at=int(ends_at))
    raise AssertionError(name)
