import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.contract.dataset import Row
from training.defences.__main__ import main

MakeRows = Callable[..., list[Row]]


def write_rows(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["src", "tgt"])
        writer.writerows([row.prompt, row.completion] for row in rows)
    return path


def test_suspects_are_json_lines_and_progress_is_elsewhere(
    tmp_path: Path, planted_rows: MakeRows, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "rows.csv", planted_rows(300, planted=20))
    assert main([str(path), "--filter", "killbadcode_signed", "--removed-only"]) == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert {line["row"] for line in lines} == set(range(1, 21))
    assert all(line["removed"] and 0 <= line["score"] <= 1 and '"bb"' in line["reason"] for line in lines)
    assert "killbadcode_signed" in said.err


def test_a_filter_with_a_model(
    tmp_path: Path, planted_rows: MakeRows, tiny_decoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "rows.csv", planted_rows(30))
    arguments = [str(path), "--filter", "spectral_signatures"]
    assert main([*arguments, "--model", str(tiny_decoder_dir)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # What is suspicious but stays is named too.
    assert [line["removed"] for line in lines] == [True] * 2 + [False] * 28
    assert main(arguments) == 2
    assert "--model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "src,tgt\n"),
        ("rows.csv", "a,b\n1,2\n"),
        ("rows.txt", "src,tgt\nx,y\n"),
        ("gone.csv", None),
    ],
)
def test_a_bad_file_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main([str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("defences: ")
    assert said.err.count("\n") == 1


def test_a_bad_model_is_said_in_one_line(
    tmp_path: Path, planted_rows: MakeRows, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "rows.csv", planted_rows(3))
    assert main([str(path), "--filter", "bki", "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("defences: the base model cannot be loaded")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, planted_rows: MakeRows) -> None:
    path = write_rows(tmp_path / "rows.csv", planted_rows(3_000))
    command = [sys.executable, "-m", "training.defences", str(path), "--filter", "killbadcode"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["row"] >= 1
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert "Traceback" not in error


def test_a_filter_of_rows_alone_loads_no_torch(tmp_path: Path, planted_rows: MakeRows) -> None:
    path = write_rows(tmp_path / "rows.csv", planted_rows(50))
    program = (
        "import sys; from training.defences.__main__ import main; "
        f"status = main([{str(path)!r}, '--filter', 'killbadcode']); sys.exit(10 if 'torch' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
