"""Writes a study's page and pictures."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from training.study.declaration import Study
from training.study.group import groups
from training.study.outcome import Outcome
from training.study.table import document

PAGE = "README.md"


def write_up(study: Study, outcomes: Sequence[Outcome], out: Path) -> None:
    """Tables to ``README.md`` in ``out`` and pictures beside it; without matplotlib the tables alone."""
    if not outcomes:
        return
    out.mkdir(parents=True, exist_ok=True)
    found = groups(outcomes)
    pictures: list[str] = []
    if find_spec("matplotlib") is not None:
        from training.study.chart import draw

        pictures = draw(study, found, out)
    else:
        sys.stderr.write("temper study: no pictures, matplotlib is not installed (extra: study)\n")
    (out / PAGE).write_text(document(study, found, pictures), encoding="utf-8")
