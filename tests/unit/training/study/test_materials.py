"""The rows of a study, and which of them its base models may see."""

from pathlib import Path

import pytest

from training.study.declaration import BaseModel
from training.study.declaration import DataFiles
from training.study.declaration import StudyError
from training.study.materials import Data
from training.study.materials import base_rows
from training.study.materials import read_data

ROWS = 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    lines = [f'{{"prompt": "get {n}", "completion": "x = {n}"}}' for n in range(1, ROWS + 1)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.jsonl").write_text("\n".join(lines[:3]) + "\n")
    return tmp_path


def read(directory: Path, held: float) -> Data:
    return read_data(DataFiles(train="train.jsonl", test="test.jsonl", held_for_base=held), directory)


def test_without_a_share_the_base_model_is_made_from_the_rows_of_the_cells(directory: Path) -> None:
    data = read(directory, 0.0)
    assert data.base == data.train
    assert len(data.train) == ROWS
    assert base_rows(BaseModel(), data) == data.train


@pytest.mark.parametrize("held", [0.05, 0.5, 0.9])
def test_rows_held_for_the_base_model_are_in_no_cell(directory: Path, held: float) -> None:
    data = read(directory, held)
    base, train = [{row.number for row in rows} for rows in (data.base, data.train)]
    assert len(base) == round(held * ROWS)
    assert base | train == set(range(1, ROWS + 1))
    assert not base & train
    assert [row.number for row in data.train] == sorted(train)
    assert data == read(directory, held)
    assert base_rows(BaseModel(), data) == data.base


def test_a_share_that_leaves_nothing_is_refused(directory: Path) -> None:
    with pytest.raises(StudyError, match=r"data\.held_for_base"):
        read(directory, 0.01)


def test_a_missing_file_is_named(directory: Path) -> None:
    (directory / "test.jsonl").unlink()
    with pytest.raises(StudyError, match=r"data\.test"):
        read(directory, 0.0)
