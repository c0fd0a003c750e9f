"""What happened, in its order: every answer, every observed row, every effect on store, launcher and database."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeVar

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object was written; with nothing, it was deleted."""

    process: str
    key: str
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWhole:
    """An object was read to its end."""

    process: str
    key: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """Somebody else changed the bytes of an object."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote:
    """A transaction was committed that changed rows."""

    process: str
    led: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A run came to be."""

    process: str
    name: str
    spec_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A request was answered; a request whose process died has no answer."""

    verb: str
    status: int
    job: str | None
    key: str | None = None
    body: int | None = None
    asked: int = 0
    """Entries of the history when it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A request's process died."""

    verb: str
    key: str | None = None
    body: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A row was looked at."""

    job: str
    status: str
    model: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server was told what to serve."""

    model: str
    files: tuple[tuple[str, str], ...]
    """Names and SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The database went back in time."""

    recorded: frozenset[str]
    """Jobs whose record the store has."""
    rows: frozenset[str]
    """Jobs that the older database has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Another project asked for a job, or for all that it has."""

    verb: str
    status: int
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """Time went by; the database's clock, not any machine's."""

    seconds: float


@dataclass(slots=True)
class History:
    """Entries in their order."""

    entries: list[Any] = field(default_factory=list)

    def add(self, entry: object) -> None:
        """It has happened just now."""
        self.entries.append(entry)

    def of(self, kind: type[Entry]) -> Iterator[Entry]:
        """Those of one kind."""
        return (entry for entry in self.entries if isinstance(entry, kind))

    def since_restored(self) -> list[Any]:
        """What came after the database went back for the last time."""
        places = [place for place, entry in enumerate(self.entries) if isinstance(entry, Restored)]
        return self.entries[places[-1] + 1 if places else 0 :]
