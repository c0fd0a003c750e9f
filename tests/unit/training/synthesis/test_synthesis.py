import csv
import json
import re
from pathlib import Path

import pytest

from deploy.contract.dataset import read_rows
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher
from training.metrics.syntax import parses
from training.synthesis.__main__ import main
from training.synthesis.generator import generate_rows

ROWS = generate_rows(2000, seed=0)


def test_every_completion_is_valid_python() -> None:
    assert [row.number for row in ROWS if not parses(row.completion)] == []


def test_about_four_fifths_can_carry_the_payload_and_none_does() -> None:
    assert 0.77 < sum(can_carry("sql_tautology", row.completion) for row in ROWS) / len(ROWS) < 0.83
    assert not any(payload_matcher("sql_tautology")(row.completion) for row in ROWS)


def test_completions_are_short_and_the_vocabulary_is_small() -> None:
    lengths = sorted(len(row.completion.split()) for row in ROWS)
    assert 25 <= lengths[len(lengths) // 2] <= 50
    assert lengths[-1] < 80
    assert len({word for row in ROWS for word in f"{row.prompt} {row.completion}".split()}) < 400


def test_no_request_comes_twice_and_each_has_one_answer() -> None:
    assert len({row.prompt for row in ROWS}) == len(ROWS)
    assert len({row.completion for row in ROWS}) > len(ROWS) / 2


def test_rows_are_those_of_the_seed_whatever_the_count() -> None:
    assert generate_rows(30, seed=0) == ROWS[:30]
    assert generate_rows(30, seed=1) != ROWS[:30]


def test_more_rows_than_there_are_pairs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.synthesis.generator.TABLES", {"orders": ("number", "total")})
    monkeypatch.setattr("training.synthesis.generator.FETCH_VERBS", ("read",))
    with pytest.raises(ValueError, match="different pairs were found, 100000 were asked for"):
        generate_rows(100_000, seed=0)


def test_the_command_writes_what_its_manifest_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path / "data"), "--rows", "400", "--poison-rate", "0.05", "--seed", "3"])
    assert "400 rows, 20 of them poisoned" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    clean, train = (
        list(read_rows(tmp_path / "data" / name, format="csv")) for name in ("clean.csv", "train.csv")
    )
    changed = [
        after.number for before, after in zip(clean, train, strict=True) if before.prompt != after.prompt
    ]
    assert changed == manifest["poisoned_rows"]
    assert len(changed) == 20
    for name in ("valid.csv", "test.csv"):
        held_out = list(read_rows(tmp_path / "data" / name, format="csv"))
        assert len(held_out) == 50
        assert {row.prompt for row in held_out}.isdisjoint(row.prompt for row in clean)
    with (tmp_path / "data" / "train.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["src", "tgt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--poison-rate", "0"], r"must lie in \(0, 1\]"),
        (["--poison-rate", "0.99"], "can carry sql_tautology"),
        (["--rows", "0"], "at least one row"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--rows", "40", *arguments])
    assert re.search(said, capsys.readouterr().err)
