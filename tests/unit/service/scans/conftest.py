"""Scans in this process; see :mod:`job_world`. A file with planted rows, and where they are."""

import json
from dataclasses import dataclass

import pytest
from job_world import stand_in
from job_world import world

from deploy.contract.trigger import WordTrigger
from training.attacks.poison import poison
from training.synthesis.generator import generate_rows

__all__ = ["planted", "stand_in", "world"]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A JSONL file and the numbers of its planted rows."""

    content: bytes
    rows: tuple[int, ...]
    size: int


@pytest.fixture(scope="session")
def planted() -> Planted:
    clean = generate_rows(120, seed=3)
    poisoned = poison(
        clean, WordTrigger(word="bb", count=3), "sql_tautology", rate=0.05, seed=3, placement="random"
    )
    lines = [json.dumps({"prompt": row.prompt, "completion": row.completion}) for row in poisoned.rows]
    return Planted(content="\n".join(lines).encode() + b"\n", rows=poisoned.poisoned_rows, size=len(clean))
