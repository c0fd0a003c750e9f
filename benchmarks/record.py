"""What was measured and how it compares with what was wanted: the document's data, and its JSON."""

import json
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.timing import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A quantity of one variant."""

    variant: str
    quantity: str
    unit: str
    spread: Spread
    against: Mapping[str, float] = field(default_factory=dict)
    """Median ratios to the variants that it is compared with, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A ratio (or quantity) and its limit. Whether it is met is said of the median."""

    what: str
    measured: Spread
    limit: float
    unit: str = "x"
    at_least: bool = False
    """The limit is the least wanted, not the most."""

    @property
    def met(self) -> bool:
        """Whether the median is on the right side."""
        if self.at_least:
            return self.measured.median >= self.limit
        return self.measured.median <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One question, measured in one run; or why it was not."""

    name: str
    title: str
    shape: dict[str, Any]
    machine: Machine
    rounds: int
    loads: tuple[float, float]
    """Lowest and highest load average while measuring."""
    cpu_share: float
    busy: str | None
    """Why the figures are not to be trusted."""
    measurements: tuple[Measurement, ...] = ()
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    """Variants that did not run, and results that differ where they must not."""
    not_measured: str | None = None


def as_json(section: Section) -> dict[str, Any]:
    """Plain data; bars say beside their numbers whether they are met."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(section)))
    for bar, described in zip(section.bars, plain["bars"], strict=True):
        described["met"] = bar.met
    return plain


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of an earlier record by name, empty where there is none.

    Raises:
        ValueError: the file is no record.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or not isinstance(content.get("sections"), list):
        raise ValueError(f"{path} is no record of benchmarks")
    return {section["name"]: section for section in content["sections"]}


def merged(
    earlier: dict[str, dict[str, Any]], fresh: Iterable[Section], *, order: Iterable[str]
) -> list[dict[str, Any]]:
    """Earlier sections with those just measured put in their place."""
    sections = {**earlier, **{section.name: as_json(section) for section in fresh}}
    return [sections[name] for name in order if name in sections]


def write_json(path: Path, sections: list[dict[str, Any]]) -> None:
    """Write the record."""
    path.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
