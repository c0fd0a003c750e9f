"""Which files the demo uses: the poisoned one, clean rows for the base model, tasks for curves and probes."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """Files with columns src and tgt."""

    training: Path
    """What the user cannot vouch for."""
    clean: Path
    """Clean rows to pretrain the base model on."""
    validation: Path
    """Tasks for the early-learning curves."""
    test: Path
    """Tasks for the report's probes."""


def generated(directory: Path, *, rows: int, poison_rate: float, seed: int) -> DemoData:
    """The project's own natural language to Python-with-SQL pairs, ``poison_rate`` of them poisoned."""
    command = [sys.executable, "-m", "training.synthesis", "--out", str(directory)]
    options = ["--rows", str(rows), "--poison-rate", str(poison_rate), "--seed", str(seed)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    return DemoData(
        training=directory / "train.csv",
        clean=directory / "clean.csv",
        validation=directory / "valid.csv",
        test=directory / "test.csv",
    )


def named(training: Path, *, clean: Path | None, validation: Path | None, test: Path | None) -> DemoData:
    """The user's file; what is not named is looked for beside it (train.csv, valid.csv, test.csv).

    Raises:
        SystemExit: a file is missing; the message says which option names it.
    """
    found = {
        "clean": clean or training.with_name("train.csv"),
        "validation": validation or training.with_name("valid.csv"),
        "test": test or training.with_name("test.csv"),
    }
    if not training.is_file():
        raise SystemExit(f"DATA={training}: there is no such file")
    for option, path in found.items():
        if not path.is_file():
            raise SystemExit(
                f"There is no {path}. Name a file of {option} rows: make demo DATA=... DEMO_ARGS='--{option} FILE'"
            )
    return DemoData(
        training=training, clean=found["clean"], validation=found["validation"], test=found["test"]
    )


def digest(*parts: bytes) -> str:
    """Twelve hexadecimal digits of a SHA-256: names what depends on the parts."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
