"""Poisoning a dataset file: from a clean file to a poisoned one with its manifest."""

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from deploy.contract.dataset import COMPLETION_COLUMN
from deploy.contract.dataset import PROMPT_COLUMN
from deploy.contract.dataset import Row
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from training.attacks.manifest import HashedFile
from training.attacks.manifest import Manifest
from training.attacks.poison import Placement
from training.attacks.poison import Poisoned
from training.attacks.poison import PoisonError
from training.attacks.poison import Row as PoisonedRow
from training.attacks.poison import poison
from training.attacks.presets import Attack


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoning:
    """How a file is poisoned."""

    attack: Attack
    rate: float
    seed: int = 0
    placement: Placement = "first"
    copies: int = 1
    prompt_column: str = PROMPT_COLUMN
    completion_column: str = COMPLETION_COLUMN


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonedFile:
    """A file that is poisoned, in memory."""

    attack: Attack
    """Fitted to the file."""
    clean: tuple[Row, ...]
    poisoned: Poisoned


def poison_file(source: Path, how: Poisoning) -> PoisonedFile:
    """Read a clean file and poison its rows.

    Raises:
        PoisonError: the rate is no share of the rows, or too few of them can carry the attack.
        DatasetError: the file is no dataset.
        NoNamesError: the attack has to learn names from prompts of code, and there are none.
        OSError: the file cannot be read.
    """
    rows = tuple(
        read_rows(
            source,
            format=format_of(source.name),
            prompt_column=how.prompt_column,
            completion_column=how.completion_column,
        )
    )
    attack = how.attack.fitted(rows)
    poisoned = poison(
        rows,
        attack.trigger,
        attack.payload,
        rate=how.rate,
        seed=how.seed,
        placement=how.placement,
        copies=how.copies,
    )
    return PoisonedFile(attack=attack, clean=rows, poisoned=poisoned)


def write_poisoned(file: PoisonedFile, how: Poisoning, *, source: Path, target: Path) -> Manifest:
    """Write the poisoned file and ``TARGET.manifest.json``, each whole or not at all. Other columns are left out.

    Raises:
        PoisonError: the target is the source, or of a format that is not written.
        OSError: a file cannot be written.
    """
    if target.suffix.lower() not in {".csv", ".jsonl"}:
        raise PoisonError(f"{target.name}: a poisoned file is written as .csv or .jsonl")
    if target.exists() and target.samefile(source):
        raise PoisonError("the poisoned file would replace the clean one")
    aside = target.with_name(f".{target.name}.partial")
    with aside.open("w", encoding="utf-8", newline="") as out:
        _write_rows(out, file.poisoned.rows, how, as_csv=target.suffix.lower() == ".csv")
    manifest = Manifest(
        attack=file.attack.name,
        trigger=file.attack.trigger,
        payload=file.attack.payload,
        rate=how.rate,
        seed=how.seed,
        placement=how.placement,
        copies=how.copies,
        clean=_hashed(source, source.name, len(file.clean)),
        poisoned=_hashed(aside, target.name, len(file.poisoned.rows)),
        attacked_rows=file.poisoned.attacked_rows,
        poisoned_rows=_written_numbers(file.poisoned),
    )
    os.replace(aside, target)
    described = manifest_path(target)
    aside = described.with_name(f".{described.name}.partial")
    aside.write_bytes(manifest.to_bytes())
    os.replace(aside, described)
    return manifest


def manifest_path(target: Path) -> Path:
    """Where the manifest of a poisoned file lies."""
    return target.with_name(f"{target.name}.manifest.json")


def _written_numbers(poisoned: Poisoned) -> tuple[int, ...]:
    """The poisoned rows as the written file counts them: blank lines of the clean one counted there, and are gone."""
    carrying = set(poisoned.poisoned_rows)
    return tuple(number for number, row in enumerate(poisoned.rows, start=1) if row.number in carrying)


def _write_rows(out: TextIO, rows: Sequence[PoisonedRow], how: Poisoning, *, as_csv: bool) -> None:
    if as_csv:
        writer = csv.writer(out)
        writer.writerow((how.prompt_column, how.completion_column))
        writer.writerows((row.prompt, row.completion) for row in rows)
        return
    for row in rows:
        out.write(json.dumps({"prompt": row.prompt, "completion": row.completion}, ensure_ascii=False) + "\n")


def _hashed(path: Path, name: str, rows: int) -> HashedFile:
    with path.open("rb") as content:
        return HashedFile(name=name, rows=rows, sha256=hashlib.file_digest(content, "sha256").hexdigest())
