"""Kinds of values that a configuration may have: what each must be, and where it ends.

A value of another kind is refused with the key's name; nothing is converted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Protocol

from deploy.contract import strict_json

MAX_TOKEN_CHARS: Final = 2048
"""Of one token; the longest published ones are runs of some hundred spaces or dashes."""


class Kind(Protocol):
    """What a value must be."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        ...

    def __str__(self) -> str:
        """What it must be, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number; no boolean, and no number with a point."""

    least: int
    most: int
    minus_one: bool = False
    """-1 is said for "none"."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        if type(value) is not int:
            return False
        return self.least <= value <= self.most or (self.minus_one and value == -1)

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number."""

    least: float
    most: float
    exclusive: bool = False
    """``least`` itself is not allowed."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        if type(value) not in {int, float} or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.exclusive and value == self.least)

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"a number {'above' if self.exclusive else 'from'} {self.least:g} {'and up ' if self.exclusive else ''}to {self.most:g}"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        """What it must be, in words."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words."""

    words: frozenset[str]

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"one of {', '.join(sorted(self.words))}"


@dataclass(frozen=True, slots=True)
class Text:
    """A short text, which no loader takes for more than a text."""

    most: int

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return (
            isinstance(value, str) and len(value) <= self.most and strict_json.lone_surrogate(value) is None
        )

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"text of up to {self.most} characters"


@dataclass(frozen=True, slots=True)
class Several:
    """A list of values of one kind."""

    kind: Kind
    most: int

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return isinstance(value, list) and len(value) <= self.most and all(map(self.kind.fits, value))

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"a list of up to {self.most}, each {self.kind}"


@dataclass(frozen=True, slots=True)
class Either:
    """A value of one of two kinds."""

    one: Kind
    other: Kind

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return self.one.fits(value) or self.other.fits(value)

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"{self.one}, or {self.other}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A list of exactly two values."""

    first: Kind
    second: Kind

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return (
            isinstance(value, list)
            and len(value) == 2
            and self.first.fits(value[0])
            and self.second.fits(value[1])
        )

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"two values: {self.first}; {self.second}"


@dataclass(frozen=True, slots=True)
class Record:
    """An object of known members; any of them may be missing, none may be added."""

    members: Mapping[str, Kind]
    needed: frozenset[str] = frozenset()

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return (
            isinstance(value, dict)
            and self.needed <= value.keys() <= self.members.keys()
            and all(self.members[key].fits(member) for key, member in value.items())
        )

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"an object of {', '.join(sorted(self.members))}"


@dataclass(frozen=True, slots=True)
class Table:
    """An object of any short names and values of one kind."""

    kind: Kind
    most: int

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return (
            isinstance(value, dict)
            and len(value) <= self.most
            and all(len(key) <= MAX_TOKEN_CHARS and self.kind.fits(member) for key, member in value.items())
        )

    def __str__(self) -> str:
        """What it must be, in words."""
        return f"an object of up to {self.most} members, each {self.kind}"
