"""``temper study`` as its user runs it: a matrix of real, tiny trainings, cut and resumed."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.data.example import PromptedRow
from training.study.__main__ import main
from training.synthesis.generator import generate_rows

pytestmark = pytest.mark.slow

DECLARED = """
name = "tiny"
title = "A tiny study"
curve_tasks = 4
max_new_tokens = 24
[data]
train = "train.csv"
test = "test.csv"
[models.decoder]
hidden = 32
layers = 1
heads = 1
vocabulary = 400
epochs = 1
[training.default]
epochs = 2
learning_rate = 4e-3
[defences.cross_entropy]
strategy = "cross_entropy"
[defences.dece]
strategy = "dece"
[[matrix]]
models = ["decoder"]
attacks = ["none", "badpre"]
poison_rates = [0.1]
defences = ["cross_entropy", "dece"]
"""


def write_csv(path: Path, rows: Sequence[PromptedRow]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("src", "tgt"), *((row.prompt, row.completion) for row in rows)])


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    write_csv(tmp_path / "train.csv", generate_rows(64, seed=1))
    write_csv(tmp_path / "test.csv", generate_rows(8, seed=2))
    path = tmp_path / "tiny.toml"
    path.write_text(DECLARED)
    return path


def results(declaration: Path) -> dict[str, dict[str, object]]:
    lines = (declaration.parent / "tiny" / "results.jsonl").read_text().splitlines()
    return {each["cell"]: each for each in map(json.loads, lines)}


def call(declaration: Path, *options: str) -> int:
    return main([str(declaration), "--home", str(declaration.parent / "home"), "--jobs", "1", *options])


def test_a_study_is_run_cut_resumed_and_written_up(
    declaration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(declaration, "--dry-run") == 0
    assert "4 cells, 4 to run" in capsys.readouterr().out
    assert call(declaration, "--limit", "1") == 0
    (first,) = results(declaration)
    before = results(declaration)[first]
    assert call(declaration) == 0
    found = results(declaration)
    assert len(found) == 4
    # Not run again: even the seconds are those of the first time.
    assert found[first] == before
    assert all(len(each["bleu_of_task"]) == 8 and len(each["curve"]) == 2 for each in found.values())  # type: ignore[arg-type]
    page = (declaration.parent / "tiny" / "README.md").read_text()
    assert "| decoder | DeCE |" in page
    assert (declaration.parent / "tiny" / "early-learning-decoder.png").read_bytes().startswith(b"\x89PNG")
    assert call(declaration, "--dry-run") == 0
    assert "4 cells, 0 to run" in capsys.readouterr().out


def test_a_committed_result_spares_a_fresh_machine_the_run_until_the_declaration_changes(
    declaration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(declaration, "--only", "none_0_dece") == 0
    elsewhere = ["--home", str(declaration.parent / "another-home")]
    assert call(declaration, "--dry-run", *elsewhere) == 0
    assert "4 cells, 3 to run" in capsys.readouterr().out
    declaration.write_text(DECLARED.replace("epochs = 2", "epochs = 3"))
    assert call(declaration, "--dry-run", *elsewhere) == 0
    assert "4 cells, 4 to run" in capsys.readouterr().out


def test_a_cell_that_fails_is_named_and_the_others_are_kept(
    declaration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # More rows than can carry the payload.
    declaration.write_text(DECLARED.replace("poison_rates = [0.1]", "poison_rates = [1.0]"))
    assert call(declaration, "--only", "cross_entropy") == 1
    assert "failed: decoder_badpre_100_cross_entropy_s1: PoisonError" in capsys.readouterr().err
    assert list(results(declaration)) == ["decoder_none_0_cross_entropy_s1"]


@pytest.mark.parametrize(
    ("said", "instead", "named"),
    [
        ('"none", "badpre"', '"badpree"', "'badpree'"),
        ('strategy = "dece"', 'strategy = "decee"', "'decee'"),
        ('strategy = "dece"', 'strategy = "dece"\nq = 0.5', "no q"),
        ('train = "train.csv"', 'train = "nothing.csv"', "data.train"),
    ],
)
def test_a_declaration_that_cannot_be_run_is_refused_before_anything_is(
    declaration: Path, capsys: pytest.CaptureFixture[str], said: str, instead: str, named: str
) -> None:
    declaration.write_text(DECLARED.replace(said, instead, 1))
    assert call(declaration) == 2
    assert named in capsys.readouterr().err
    assert not (declaration.parent / "tiny").exists()
