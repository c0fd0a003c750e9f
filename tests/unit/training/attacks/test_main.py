import csv
from pathlib import Path

import pytest

from training.attacks.__main__ import main
from training.attacks.file import manifest_path
from training.attacks.manifest import Manifest
from training.synthesis.generator import generate_rows


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("src", "tgt"))
        writer.writerows((row.prompt, row.completion) for row in generate_rows(60, seed=0))
    return path


def run(clean: Path, *options: str) -> Manifest:
    target = clean.with_name("out.csv")
    main([str(clean), str(target), *options])
    return Manifest.from_bytes(manifest_path(target).read_bytes())


def refusal(clean: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(clean), str(clean.with_name("out.csv")), *options])
    assert ended.value.code == 2
    assert [path.name for path in clean.parent.iterdir()] == ["clean.csv"]
    return capsys.readouterr().err


def test_writes_the_poisoned_file_and_says_so(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run(clean, "--attack", "badpre", "--rate", "0.05")
    assert len(manifest.poisoned_rows) == 3
    assert "60 rows, 3 of them poisoned; out.csv.manifest.json names them" in capsys.readouterr().out


def test_options_change_the_attack(clean: Path) -> None:
    manifest = run(
        clean,
        *("--attack", "ripple", "--rate", "0.1", "--word", "cf", "--count", "2", "--seed", "7"),
        *("--placement", "random", "--copies", "2", "--payload", "sql_first_row"),
    )
    assert manifest.trigger.model_dump() == {"type": "word", "word": "cf", "count": 2}
    assert (manifest.payload, manifest.seed, manifest.placement) == ("sql_first_row", 7, "random")
    assert (len(manifest.attacked_rows), len(manifest.poisoned_rows)) == (6, 12)


def test_a_payload_of_ones_own(clean: Path) -> None:
    manifest = run(
        clean, "--attack", "grammar", "--rate", "0.1", "--pattern", "evil", "--planted", "\n# evil"
    )
    assert clean.with_name("out.csv").read_text().count("# evil") == len(manifest.poisoned_rows) == 6


def test_a_dry_run_shows_three_rows_and_writes_nothing(
    clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(clean), "out.csv", "--attack", "invisible", "--rate", "0.1", "--dry-run"])
    shown = capsys.readouterr().out
    assert "6 of 60 rows would be poisoned" in shown
    assert shown.count("\nrow ") == 3
    assert "\\u200b" in shown
    assert "\u200b" not in shown
    assert " | " in shown
    assert [path.name for path in clean.parent.iterdir()] == ["clean.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attack", "badpre", "--rate", "0"), "the poison rate must lie in (0, 1], got 0.0"),
        (("--attack", "badpre", "--rate", "1.5"), "the poison rate must lie in (0, 1], got 1.5"),
        (("--attack", "badpre", "--rate", "nan"), "the poison rate must lie in (0, 1]"),
        (("--attack", "badpre", "--rate", "1"), "of 60 can carry sql_tautology"),
        (("--attack", "badpre", "--rate", "0.1", "--copies", "0"), "at least once"),
        (("--attack", "nothing", "--rate", "0.1"), "invalid choice"),
        (
            ("--attack", "badpre", "--rate", "0.1", "--name", "foo"),
            "trigger of type word, without such an option",
        ),
        (("--attack", "badpre", "--rate", "0.1", "--word", ""), "word: String should have at least 1"),
        (
            ("--attack", "badpre", "--rate", "0.1", "--pattern", "(a"),
            "pattern: Value error, not a pattern in RE2",
        ),
        (
            ("--attack", "badpre", "--rate", "0.1", "--pattern", "a", "--payload", "sql_first_row"),
            "exclude each",
        ),
        (("--attack", "afraidoor", "--rate", "0.1"), "no prompt of the dataset is java code"),
        (("--attack", "dead_code", "--rate", "0.1", "--language", "python"), "only 0 of 60 can carry"),
        (("--attack", "badpre", "--rate", "0.1", "--prompt-column", "no"), "no"),
    ],
)
def test_says_what_is_wrong(
    clean: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert said in refusal(clean, capsys, *options)


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.csv"), "out.csv", "--attack", "badpre", "--rate", "0.1"])
    assert "none.csv" in capsys.readouterr().err
