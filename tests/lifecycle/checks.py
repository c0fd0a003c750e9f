"""What must hold of every history, whatever happened. Each check returns what speaks against it, or nothing.

The names are those that the mutation check knows: it switches one mechanism off and expects these to say so.
"""

from collections import Counter
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Final

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.contract.result import JobResult
from service.work.ends import TERMINAL
from tests.lifecycle.history import Answered
from tests.lifecycle.history import Damaged
from tests.lifecycle.history import Foreign
from tests.lifecycle.history import History
from tests.lifecycle.history import Launched
from tests.lifecycle.history import ReadWhole
from tests.lifecycle.history import Restored
from tests.lifecycle.history import Seen
from tests.lifecycle.history import Served
from tests.lifecycle.history import Stored
from tests.lifecycle.history import Unanswered
from tests.lifecycle.history import Waited
from tests.lifecycle.history import Wrote

WAITED_FOR: Final = {"deadline_exceeded": 24 * 3600.0, "stalled": 6 * 3600.0, "launch_failed": 3600.0}
"""Ends that only time brings; seconds."""


class Broken(AssertionError):  # noqa: N818 - a finding
    """A check found something; its message begins with the check's name."""


def check(history: History) -> None:
    """Raises Broken."""
    for name, look in CHECKS.items():
        found = next(look(history), None)
        if found is not None:
            raise Broken(f"{name}: {found}")


def one_result(history: History) -> Iterator[str]:
    """A job has at most one result, ever, and that is the whole output of one start."""
    held: dict[str, bytes] = {}
    for entry in history.of(Stored):
        if entry.data is None:
            held.pop(entry.key, None)
            continue
        before, held[entry.key] = held.get(entry.key), entry.data
        if not entry.key.endswith("/result.json"):
            continue
        if before is not None and before != entry.data:
            yield f"{entry.key} was written over by {entry.process}"
        yield from _incomplete(JobResult.from_bytes(entry.data), held)


def _incomplete(result: JobResult, held: Mapping[str, bytes]) -> Iterator[str]:
    for key, sha256 in objects_of(result).items():
        if key not in held:
            yield f"{key} is named by a result before it is there"
        elif sha256_hex(held[key]) != sha256:
            yield f"{key} is not what the result of its own start says"


def objects_of(result: JobResult) -> dict[str, str]:
    """SHA-256 of everything that a start wrote and its result names, by key."""
    found = {stored.key: stored.sha256 for stored in (result.report, result.metrics)}
    for arm, model in result.models.items():
        if arm != "base":
            prefix = layout.model_prefix(result.job_id, result.attempt, result.pod, arm)
            found |= {prefix + file.name: file.sha256 for file in model.files}
    return found


def ends_are_final(history: History) -> Iterator[str]:
    """What is over stays as it is, until the database itself goes back in time."""
    ended: dict[str, Seen] = {}
    for entry in history.entries:
        if isinstance(entry, Restored):
            ended.clear()
        if isinstance(entry, Seen):
            before = ended.get(entry.job)
            if before is not None and before != entry:
                yield f"{before} became {entry}"
            if entry.status in TERMINAL:
                ended[entry.job] = entry


def success_is_verified(history: History) -> Iterator[str]:
    """Before a job succeeds the service has read each of its objects to its end, and they were right."""
    results: dict[str, JobResult] = {}
    right: dict[str, set[str]] = defaultdict(set)
    succeeded: set[str] = set()
    for entry in history.entries:
        if isinstance(entry, Stored) and entry.key.endswith("/result.json") and entry.data is not None:
            result = JobResult.from_bytes(entry.data)
            results.setdefault(result.job_id, result)
        elif isinstance(entry, ReadWhole) and not entry.process.startswith("pod"):
            right[entry.key].add(entry.sha256)
        elif isinstance(entry, Seen) and entry.status == "succeeded" and entry.job not in succeeded:
            succeeded.add(entry.job)
            if entry.job not in results:
                yield f"{entry.job} succeeded without a result"
                continue
            for key, sha256 in objects_of(results[entry.job]).items():
                if sha256 not in right[key]:
                    yield f"{entry.job} succeeded, and {key} was never seen to be right"


def failure_has_a_cause(history: History) -> Iterator[str]:
    """No result is distrusted that is true, and nothing ends for time that has not gone by."""
    waited = sum(entry.seconds for entry in history.of(Waited))
    damaged = {entry.key.split("/")[1] for entry in history.of(Damaged)}
    for entry in history.of(Seen):
        if entry.error == "bad_result" and entry.job not in damaged:
            yield f"{entry.job} was told to be wrong, and nobody had changed it"
        if entry.error is not None and waited < WAITED_FOR.get(entry.error, 0.0):
            yield f"{entry.job} failed with {entry.error} after {waited:g} s"


def cancelled_is_never_served(history: History) -> Iterator[str]:
    """Whoever was told that a job is cancelled sees no model of it, and nobody serves one."""
    cancelled: set[str] = set()
    models: dict[str, str] = {}
    for entry in history.entries:
        if isinstance(entry, Restored):
            cancelled.clear()
        elif isinstance(entry, Answered) and entry.verb == "cancel" and entry.status == 200 and entry.job:
            cancelled.add(entry.job)
        elif isinstance(entry, Seen):
            if entry.job in cancelled and (entry.status != "cancelled" or entry.model is not None):
                yield f"{entry} was cancelled before"
            if entry.model is not None:
                models[entry.model] = entry.job
        elif isinstance(entry, Served) and models.get(entry.model.removesuffix(":control")) in cancelled:
            yield f"{entry.model} is served"


def what_is_served_was_committed(history: History) -> Iterator[str]:
    """A server is told to serve the very bytes that the result names."""
    committed: dict[str, JobResult] = {}
    models: dict[str, str] = {}
    for entry in history.entries:
        if isinstance(entry, Stored) and entry.key.endswith("/result.json") and entry.data is not None:
            result = JobResult.from_bytes(entry.data)
            committed.setdefault(result.job_id, result)
        elif isinstance(entry, Seen) and entry.model is not None:
            models[entry.model] = entry.job
        elif isinstance(entry, Served) and entry.model in models:
            files = committed[models[entry.model]].models["hardened"].files
            missing = {(file.name, file.sha256) for file in files} - set(entry.files)
            if missing:
                yield f"{entry.model} is served without {missing}"


def accepted_is_kept(history: History) -> Iterator[str]:
    """Every job that was answered is there at the end, unless an older database never knew it."""
    there: set[str] = set()
    accepted: dict[str, bool] = {}
    for entry in history.entries:
        if isinstance(entry, Answered) and entry.verb == "create" and entry.status == 200 and entry.job:
            accepted[entry.job] = True
        elif isinstance(entry, Restored):
            there = set()
            accepted = {
                job: kept for job, kept in accepted.items() if job in entry.recorded or job in entry.rows
            }
        elif isinstance(entry, Seen):
            there.add(entry.job)
    for job in accepted.keys() - there:
        yield f"{job} was accepted and is not there"


def one_key_one_job(history: History) -> Iterator[str]:
    """The same key with the same body is always the same job; with another body it is refused."""
    held: dict[str, tuple[int | None, str]] = {}
    for place, entry in enumerate(history.entries):
        if isinstance(entry, Restored):
            known = entry.recorded | entry.rows
            held = {key: (body, job) for key, (body, job) in held.items() if job in known}
        if not isinstance(entry, Answered) or entry.verb != "create" or entry.key is None:
            continue
        of = held.get(entry.key)
        if entry.status == 200 and entry.job is not None:
            if of is not None and of != (entry.body, entry.job):
                yield f"{entry} though the key is of {of}"
            held[entry.key] = (entry.body, entry.job)
        elif (
            entry.status == 422
            and (of is None or of[0] == entry.body)
            and not _may_have_come_first(history, entry, place)
        ):
            yield f"{entry} though the key is of {of}"


def _may_have_come_first(history: History, refused: Answered, place: int) -> bool:
    """Whether a request with this key may have come through before, and was not answered or not yet."""
    return any(entry.key == refused.key for entry in history.of(Unanswered)) or any(
        isinstance(entry, Answered)
        and entry.verb == "create"
        and (entry.key, entry.status) == (refused.key, 200)
        and entry.body != refused.body
        and entry.asked < place
        for entry in history.entries[place:]
    )


def no_job_of_nobody(history: History) -> Iterator[str]:
    """There are no more jobs than requests that may have made one."""
    asked = Counter(
        isinstance(entry, Answered)
        for entry in history.entries
        if isinstance(entry, Answered | Unanswered) and entry.verb == "create"
    )
    answered = {entry.job for entry in history.of(Answered) if entry.verb == "create" and entry.job}
    known = {entry.job for entry in history.of(Seen)}
    if len(known - answered) > asked[False]:
        yield f"{len(known - answered)} jobs that nobody was told of, {asked[False]} requests without an answer"


def former_leaders_write_nothing(history: History) -> Iterator[str]:
    """Who has lost the lead changes no row."""
    return (f"{entry.process} wrote" for entry in history.of(Wrote) if not entry.led)


def one_name_per_attempt(history: History) -> Iterator[str]:
    """Whoever launches an attempt, and how often, launches it under the one name that it has."""
    for entry in history.of(Launched):
        identity = layout.job_of_name(entry.name)
        if identity is None or not entry.spec_uri.endswith("/" + layout.spec_key(*identity)):
            yield f"{entry.name} runs {entry.spec_uri}"


def specs_are_written_once(history: History) -> Iterator[str]:
    """The spec of an attempt never changes."""
    held: dict[str, bytes] = {}
    for entry in history.of(Stored):
        written = entry.key.endswith("/spec.json") and entry.data is not None
        if written and held.setdefault(entry.key, entry.data or b"") != entry.data:
            yield f"{entry.key} was changed by {entry.process}"


def others_see_nothing(history: History) -> Iterator[str]:
    """To another project every job is missing, and no answer to it names one."""
    for entry in history.of(Foreign):
        if entry.status != (200 if entry.verb == "list" else 404):
            yield f"{entry.verb} of another's job answers {entry.status}"
        if entry.verb == "list" and "ftjob-" in entry.told:
            yield f"another's list shows {entry.told[:200]}"


def quiet_is_over(history: History) -> Iterator[str]:
    """After it has become quiet every job is over."""
    last = {entry.job: entry for entry in history.since_restored() if isinstance(entry, Seen)}
    return (f"{seen} at the end" for seen in last.values() if seen.status not in TERMINAL)


CHECKS: Final[Mapping[str, Callable[[History], Iterator[str]]]] = {
    look.__name__: look
    for look in (
        one_result,
        ends_are_final,
        success_is_verified,
        failure_has_a_cause,
        cancelled_is_never_served,
        what_is_served_was_committed,
        accepted_is_kept,
        one_key_one_job,
        no_job_of_nobody,
        former_leaders_write_nothing,
        one_name_per_attempt,
        specs_are_written_once,
        others_see_nothing,
        quiet_is_over,
    )
}


def as_text(history: History) -> str:
    """For people, one entry a line."""

    def short(entry: Any) -> str:
        return repr(entry) if not isinstance(entry, Stored) else f"Stored({entry.process}, {entry.key})"

    return "\n".join(short(entry) for entry in history.entries if not isinstance(entry, ReadWhole | Wrote))
