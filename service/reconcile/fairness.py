"""Whose turn it is: free places go around among projects, so that nobody waits behind another's thousand jobs. Pure."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from service.reconcile.observation import DesiredWork


def turns(
    waiting: Sequence[DesiredWork],
    running: Iterable[DesiredWork],
    *,
    free: int,
    at_once: Mapping[str, int],
    withheld: frozenset[str],
) -> frozenset[str]:
    """Which jobs may start now.

    Each place goes to the project that has the fewest, and among those to the one whose job waits longest; within
    a project the oldest comes first.

    Args:
        waiting: jobs that could start, the oldest first.
        running: jobs that hold a place.
        free: places that nobody holds.
        at_once: how many places a project may hold; one that is not in it may hold any number.
        withheld: projects that may start nothing now.
    """
    held = Counter(job.project for job in running)
    lines: dict[str, list[str]] = {}
    age: dict[str, int] = {}
    for position, job in enumerate(waiting):
        if job.project not in withheld:
            lines.setdefault(job.project, []).append(job.id)
            age[job.id] = position
    chosen: set[str] = set()
    for _ in range(min(free, len(age))):
        ready = [
            (held[project], age[line[0]], project)
            for project, line in lines.items()
            if line and held[project] < at_once.get(project, held[project] + 1)
        ]
        if not ready:
            break
        _, _, project = min(ready)
        chosen.add(lines[project].pop(0))
        held[project] += 1
    return frozenset(chosen)
