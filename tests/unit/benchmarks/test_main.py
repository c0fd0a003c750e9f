"""The command: what it refuses, what it writes, and its exit status."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import machine
from benchmarks.record import Bar
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.timing import spread_of

MISSED = Bar(what="ours / theirs", measured=spread_of([9.0]), limit=0.5)


def made(name: str) -> Section:
    return Section(
        name=name,
        title=name,
        shape={},
        machine=machine.describe(),
        rounds=2,
        loads=(0.0, 0.0),
        cpu_share=1.0,
        busy=None,
        bars=(MISSED,),
    )


def section_of(name: str, **changes: object) -> Callable[[Settings, Watch], Section]:
    return lambda settings, watch: replace(made(name), rounds=settings.rounds, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SECTIONS", {name: section_of(name) for name in ("head", "step")})
    monkeypatch.setattr(machine, "load", lambda: 0.1)


def test_a_missed_ratio_is_printed_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "0 of 2 ratios met" in said
    assert "missed ours / theirs" in said
    assert "MISSED" in (tmp_path / "benchmarks.md").read_text()


def test_a_part_leaves_the_rest_of_the_record(tmp_path: Path) -> None:
    assert command.main(["--out", str(tmp_path)]) == 0
    assert command.main(["--out", str(tmp_path), "--only", "step", "--rounds", "3"]) == 0
    sections = json.loads((tmp_path / "benchmarks.json").read_text())["sections"]
    assert [(one["name"], one["rounds"]) for one in sections] == [("head", 5), ("step", 3)]


def test_a_variant_that_did_not_run_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(command.SECTIONS, "head", section_of("head", failures=("x did not run",)))  # type: ignore[arg-type]
    assert command.main(["--out", str(tmp_path)]) == command.FAILED


def test_a_busy_machine_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "load", lambda: machine.cores() + 0.5)
    assert command.main(["--out", str(tmp_path)]) == command.TOO_BUSY
    assert "figures taken now would say nothing" in " ".join(capsys.readouterr().out.split())
    assert list(tmp_path.iterdir()) == []
    assert command.main(["--out", str(tmp_path), "--even-if-busy"]) == 0


def test_a_quick_run_writes_nothing_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["--quick"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert command.parse([]).out == Path("docs")


@pytest.mark.parametrize("arguments", [["--rounds", "1"], ["--only", "nothing"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.parse(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
