"""The files of a demonstration: a poisoned training file beside its clean original, and held-out rows."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from deploy.contract.trigger import WordTrigger
from training.attacks.poison import poison
from training.data.example import PromptedRow
from training.synthesis.generator import generate_rows

HELD_OUT_SHARE = 8
"""valid.csv and test.csv each have one row for this many training rows, as Lyra has (1600 / 200 / 200)."""


def write_demonstration(
    directory: Path, *, rows: int, poison_rate: float, seed: int, trigger: WordTrigger
) -> dict[str, object]:
    """Write train.csv (poisoned), clean.csv, valid.csv, test.csv and manifest.json.

    Returns:
        The manifest: settings and the numbers of the poisoned rows.

    Raises:
        PoisonError: the rate is no share of the rows, or too many rows would have to be poisoned.
        ValueError: ``rows`` below 1, or more than the generator has different pairs for.
    """
    if rows < 1:
        raise ValueError(f"at least one row is needed, got {rows}")
    held_out = max(1, rows // HELD_OUT_SHARE)
    generated = generate_rows(rows + 2 * held_out, seed=seed)
    clean, valid, test = generated[:rows], generated[rows : rows + held_out], generated[rows + held_out :]
    poisoned = poison(clean, trigger, "sql_tautology", rate=poison_rate, seed=seed, placement="random")
    manifest: dict[str, object] = {
        "rows": rows,
        "held_out_rows": held_out,
        "seed": seed,
        "poison_rate": poison_rate,
        "trigger": trigger.model_dump(),
        "payload": "sql_tautology",
        "poisoned_rows": list(poisoned.poisoned_rows),
    }
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "train.csv", poisoned.rows)
    _write(directory / "clean.csv", clean)
    _write(directory / "valid.csv", valid)
    _write(directory / "test.csv", test)
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _write(path: Path, rows: Iterable[PromptedRow]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("src", "tgt"))
        writer.writerows((row.prompt, row.completion) for row in rows)
