"""What one process remembers of a kind of work between ticks. All of it may be lost: the rows know what counts."""

import heapq
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any
from typing import Final

from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from service.reconcile.observation import Looked
from service.reconcile.observation import Refused
from service.reconcile.observation import Told

GONE_AFTER_S: Final = 30.0
"""A run that was seen and is missing for so long does not exist. Deleted objects do not come back, so this only
guards against a view of the cluster that goes back in time for a moment."""
PODS_EVERY: Final = 8
"""Listenings to a job, of which one looks for pods that began meanwhile."""
ASK_EVERY_S: Final = 120.0
"""Each job's result is asked for this often, whatever its run seems to do."""
LINGER_S: Final = 300.0
"""From its result on, a run that does not end is stopped: it holds a machine for nothing."""
LOOK_AGE_S: Final = 60.0
"""A look that nothing came of so long is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """When and at what the store was looked into."""

    found: Looked
    version: int
    """Of the row."""
    phase: RunPhase | None
    """Of the newest attempt's run, before the look began."""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Of a run that goes on."""

    newest_at: float
    """When it last told something new, or was first seen."""
    heard_at: float
    """When it was last listened to with success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Of a job at being listened to."""

    count: int
    newest: int
    """Number of the newest among the listenings to all jobs."""


@dataclass(slots=True)
class Recollection:
    """Only the reconciler's thread reads or changes it. Times are Unix seconds unless said otherwise."""

    stopping: set[str] = field(default_factory=set)
    """Runs that were asked to stop."""
    spared: dict[str, float] = field(default_factory=dict)
    """When runs without a row were found to be of jobs that the store knows."""
    stalled: set[str] = field(default_factory=set)
    """Runs that made no progress for too long; they stay so until they are removed."""
    launched: dict[str, float] = field(default_factory=dict)
    """Monotonic seconds, of runs that no view has shown yet."""
    missing: dict[str, float] = field(default_factory=dict)
    """By job, since when its run, which was seen, is missing."""
    progress: dict[str, Progress] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    """By job, when the store was last asked for a result out of turn."""
    committed: dict[str, float] = field(default_factory=dict)
    """By job, when a result was first seen while its run went on."""
    told: dict[str, Told] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    turns: dict[str, Turns] = field(default_factory=dict)
    """By job, how often and when it was listened to."""
    listenings: int = 0
    """To all jobs together: the clock of their turns."""

    def clear(self) -> None:
        """Another process has led since: begin anew."""
        self.stopping.clear()
        self.stalled.clear()
        for by_run in (self.spared, self.launched, self.progress):
            by_run.clear()
        for by_job in self._by_job():
            by_job.clear()

    def keep_only(self, work: Collection[str], runs: Mapping[str, Run], *, observed_at: float) -> None:
        """Forget jobs that are over and runs that are gone.

        Args:
            work: ids of what is not over.
            runs: as they are seen.
            observed_at: monotonic seconds of the moment that they show.
        """
        self.stopping &= runs.keys()
        self.stalled &= runs.keys()
        _keep(self.progress, runs.keys())
        _keep(self.spared, runs.keys())
        _keep(self.launched, {name for name, at in self.launched.items() if at >= observed_at} - runs.keys())
        for by_job in self._by_job():
            _keep(by_job, work)

    def _by_job(self) -> tuple[dict[str, Any], ...]:
        return (self.missing, self.looks, self.asked, self.committed, self.told, self.refused, self.turns)

    def looked(self, work_id: str, *, version: int, phase: RunPhase | None, now: float) -> Looked | None:
        """What a look found, if nothing has changed since."""
        look = self.looks.get(work_id)
        if look is None or (look.version, look.phase) != (version, phase) or now - look.at > LOOK_AGE_S:
            self.looks.pop(work_id, None)
            return None
        return look.found

    def note_missing(self, work_id: str, now: float) -> bool:
        """A run that was seen is not there. Returns whether it counts as gone."""
        return now - self.missing.setdefault(work_id, now) >= GONE_AFTER_S

    def note_refused(self, work_id: str, reason: str, now: float) -> None:
        """The launcher did not take an order."""
        known = self.refused.get(work_id, Refused(reason=reason, since=now, times=0))
        self.refused[work_id] = replace(known, reason=reason, times=known.times + 1)

    def note_running(self, name: str, now: float, *, stall_s: float | None) -> None:
        """A run goes on; it stalls when it was heard, again and again, and told nothing for so long."""
        known = self.progress.setdefault(name, Progress(newest_at=now, heard_at=now))
        if stall_s is not None and known.heard_at - known.newest_at >= stall_s:
            self.stalled.add(name)

    def note_heard(self, name: str, now: float, *, news: bool) -> None:
        """A run was listened to."""
        known = self.progress.get(name)
        newest_at = now if news or known is None else known.newest_at
        self.progress[name] = Progress(newest_at=newest_at, heard_at=now)

    def take_turn(self, work_id: str) -> bool:
        """Count a listening. Returns whether it is to look for new pods as well."""
        self.listenings += 1
        known = self.turns.get(work_id)
        count = 0 if known is None else known.count + 1
        self.turns[work_id] = Turns(count=count, newest=self.listenings)
        return count % PODS_EVERY == 0

    def to_ask(self, work: Collection[str], limit: int, now: float) -> list[str]:
        """Of these jobs, some for whose result nobody has asked for long; each comes to its turn."""
        due = [each for each in work if now - self.asked.setdefault(each, now) >= ASK_EVERY_S]
        chosen = heapq.nsmallest(limit, due, key=lambda each: self.asked[each])
        self.asked.update(dict.fromkeys(chosen, now))
        return chosen

    def waited_longest(self, work: Collection[str], limit: int) -> list[str]:
        """Of these jobs, those whose last turn is the longest ago."""
        return heapq.nsmallest(limit, work, key=self._turn)

    def _turn(self, work_id: str) -> int:
        known = self.turns.get(work_id)
        return 0 if known is None else known.newest


def _keep(known: dict[str, Any], wanted: Collection[str]) -> None:
    for name in [name for name in known if name not in wanted]:
        del known[name]
