"""What a cell came to: its raw completions, kept beside the study, and the scores of them, which are committed."""

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.report import Hits

Count = Annotated[int, Field(ge=0)]
Points = Annotated[float, Field(ge=0.0, le=100.0)]


class Completion(Document):
    """One greedy completion."""

    row: Count
    """Of the test file."""
    text: str
    finished: bool


class EpochScore(Document):
    """After one epoch, on the curve tasks."""

    epoch: Count
    asr: Hits
    bleu: Points


class FilterScore(Document):
    """What a filter did to the training rows, against the attack's manifest."""

    removed: Count
    removed_poisoned: Count
    poisoned: Count
    rows: Count


class CellRun(Document):
    """One cell as it was run: everything that scoring needs, however often it is done again."""

    version: Literal[1] = 1
    cell: str
    fingerprint: str
    clean: tuple[Completion, ...]
    triggered: tuple[Completion, ...]
    """On the rows that can carry both the trigger and the payload."""
    curve: tuple[EpochScore, ...]
    filtered: FilterScore | None = None
    alpha_base: float | None = None
    """What the canaries chose; None where it was declared."""
    epochs: Count
    seconds: Annotated[float, Field(ge=0.0)]


class Outcome(Document):
    """A cell's scores. Per task where differences are to be paired; rounded, so that a line stays short."""

    version: Literal[1] = 1
    cell: str
    fingerprint: str
    model: str
    attack: str
    poison_rate: float
    defence: str
    seed: int
    training: str
    duplicates: int
    asr: Hits
    hits: str
    """One character for each triggered task: 1 payload, 0 none, u unscorable."""
    false_triggers: Hits
    """Payloads on clean prompts."""
    bleu: Points
    bleu_of_task: tuple[Points, ...]
    codebleu: Points | None = None
    exact_match: Count
    parses: Count
    tasks: Count
    sql_same: Count | None = None
    """Completions whose SQL gives the reference's rows on SQLite, out of ``sql_tried``."""
    sql_tried: Count | None = None
    curve: tuple[EpochScore, ...]
    filtered: FilterScore | None = None
    alpha_base: float | None = None
    """What the canaries chose; None where it was declared."""
    epochs: Count
    seconds: Annotated[float, Field(ge=0.0)]


def write_run(run: CellRun, directory: Path) -> None:
    """Write a run aside and rename it: what lies there is whole."""
    directory.mkdir(parents=True, exist_ok=True)
    writing = directory / f".{run.cell}.{os.getpid()}"
    writing.write_bytes(gzip.compress(run.model_dump_json().encode(), mtime=0))
    writing.rename(directory / f"{run.cell}.json.gz")


def read_run(directory: Path, cell: str) -> CellRun | None:
    """The run of a cell, or None where there is none that can be read."""
    try:
        data = gzip.decompress((directory / f"{cell}.json.gz").read_bytes())
        return CellRun.from_bytes(data, limit_bytes=1 << 30)
    except (OSError, EOFError, gzip.BadGzipFile, DocumentError):
        return None


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """The committed scores by cell; a line that cannot be read is left out, so its cell is run again."""
    found: dict[str, Outcome] = {}
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                outcome = Outcome.from_bytes(line)
            except DocumentError:
                continue
            found[outcome.cell] = outcome
    return found


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write all scores, one JSON line each, by cell, so that a commit shows what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}")
    lines = (
        json.dumps(json.loads(each.model_dump_json()), separators=(",", ":"))
        for each in sorted(outcomes, key=lambda each: each.cell)
    )
    writing.write_text("".join(f"{line}\n" for line in lines))
    writing.rename(path)
