"""Reads what a job or a scan tells: its event segments, and why a start of it failed.

A job is not trusted: malformed lines are counted and skipped, sizes and numbers are bounded. Nothing is remembered
here: whoever listens hands in how far each pod was heard, and keeps it with the events.
"""

import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.event import JobEvent
from deploy.contract.result import JobFailure
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore

SEGMENT_BYTES: Final = 4 << 20
FAILURE_BYTES: Final = 64 << 10
MAX_SEGMENTS: Final = 100_000
"""Of one pod: at one in five seconds, six days; what comes later is not shown."""
MAX_PODS: Final = 256
"""Of one attempt: 64 nodes started four times."""
SEGMENTS_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 16 << 20
"""One look at one attempt reads no more; the next one goes on."""
LARGEST_INTEGER: Final = 2**53
"""What JSON's readers and every database can hold."""
_SEGMENT: Final = re.compile(r"([0-9]{8})\.jsonl")


@dataclass(slots=True, kw_only=True)
class Heard:
    """What one look at an attempt brought."""

    attempt: int
    upto: dict[str, int]
    """By pod, the number of its newest segment that was read."""
    events: list[tuple[str, JobEvent]] = field(default_factory=list)
    """Each with the pod that told it, in order."""
    malformed: int = 0
    segments: int = 0
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it is enough for one look."""
        return self.segments >= SEGMENTS_AT_ONCE or self.size_bytes >= BYTES_AT_ONCE


def listen(
    store: ObjectStore, job_id: str, attempt: int, upto: Mapping[str, int], *, find_pods: bool
) -> Heard:
    """Everything new that an attempt tells, up to a limit. Blocks.

    Args:
        store: to read.
        job_id: of a job or scan.
        attempt: of it.
        upto: by pod, the newest segment known.
        find_pods: look for pods that began meanwhile, which costs a listing for each there is.

    Raises:
        StoreError: nothing of it may be used.
    """
    heard = Heard(attempt=attempt, upto=dict(upto))
    for pod in pods(store, job_id, attempt) if find_pods or not upto else list(upto):
        _listen_to(store, job_id, pod, heard)
    return heard


def pods(store: ObjectStore, job_id: str, attempt: int) -> list[str]:
    """The pods that wrote below an attempt, in the order of their names. Raises StoreError."""
    prefix = layout.attempt_prefix(job_id, attempt)
    found: list[str] = []
    after = ""
    while len(found) < MAX_PODS:
        first = next(iter(store.list(prefix, after=after)), None)
        if first is None:
            break
        pod, slash, _ = first.key.removeprefix(prefix).partition("/")
        if slash:
            found.append(pod)
        # Behind everything of this pod: the character after the slash.
        after = f"{prefix}{pod}0" if slash else first.key
    return found


def failures(store: ObjectStore, job_id: str, attempt: int) -> tuple[JobFailure, ...]:
    """What the starts of an attempt left behind, as far as it can be understood. Raises StoreError."""
    found = (
        _failure(store, layout.failure_key(job_id, attempt, pod)) for pod in pods(store, job_id, attempt)
    )
    return tuple(failure for failure in found if failure is not None)


def _failure(store: ObjectStore, key: str) -> JobFailure | None:
    info = store.info(key)
    if info is None or info.size_bytes > FAILURE_BYTES:
        return None
    try:
        return JobFailure.from_bytes(store.get(key, limit_bytes=FAILURE_BYTES))
    except (DocumentError, ObjectMissing):
        return None


def _listen_to(store: ObjectStore, job_id: str, pod: str, heard: Heard) -> None:
    prefix = layout.events_prefix(job_id, heard.attempt, pod)
    known = heard.upto.get(pod, -1)
    after = layout.event_segment_key(job_id, heard.attempt, pod, known) if known >= 0 else ""
    heard.upto.setdefault(pod, known)
    for info in store.list(prefix, after=after):
        match = _SEGMENT.fullmatch(info.key.removeprefix(prefix))
        if match is None:
            continue
        number = int(match[1])
        if heard.full or number >= MAX_SEGMENTS:
            return
        heard.segments += 1
        heard.size_bytes += info.size_bytes
        heard.upto[pod] = number
        if info.size_bytes > SEGMENT_BYTES:
            heard.malformed += 1
            continue
        for event in _events(_segment(store, info.key)):
            if event is None:
                heard.malformed += 1
            else:
                heard.events.append((pod, event))


def _segment(store: ObjectStore, key: str) -> bytes:
    try:
        return store.get(key, limit_bytes=SEGMENT_BYTES)
    except ObjectMissing:  # somebody tidies up
        return b""


def _events(data: bytes) -> Iterator[JobEvent | None]:
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            event = JobEvent.from_bytes(line)
            # PostgreSQL has no place for the character 0.
            usable = event.sequence <= LARGEST_INTEGER and b"\\u0000" not in line
            yield event.model_copy(update={"data": _finite(event.data)}) if usable else None
        except (DocumentError, ValueError, RecursionError):
            yield None


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` with null for numbers that JSON has not: a diverged loss must stay displayable."""
    known: dict[str, Any] = json.loads(json.dumps(data), parse_constant=lambda _: None)
    return known
