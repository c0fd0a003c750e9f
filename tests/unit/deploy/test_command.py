"""The one console script."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from deploy import command

CALLS: list[list[str]] = []


def run(arguments: list[str]) -> int:
    CALLS.append(arguments)
    return 7


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=command.GROUP)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    every = (
        entry("report", "service.client.report:main"),
        entry("broken", "deploy.no_such_module:main"),
        entry("elsewhere", "package_of_another_image.report:main"),
    )
    monkeypatch.setattr(command, "entry_points", lambda group: every if group == command.GROUP else ())


def test_only_commands_whose_packages_are_there_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "  report     print a job's report" in shown
    assert "elsewhere" not in shown


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["elsewhere"], [""]])
def test_what_is_no_command_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == command.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage: temper COMMAND" in shown.err


def test_the_rest_goes_to_the_command_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chosen:
        module = "deploy.command"

        def load(self) -> object:
            return run

    monkeypatch.setattr(command, "commands", lambda: {"report": Chosen()})
    assert command.main(["report", "--help", "", "x y"]) == 7
    assert CALLS == [["--help", "", "x y"]]


def test_nothing_is_imported_to_list_the_commands() -> None:
    program = (
        "import sys; from deploy.command import main; main(['--help']);"
        "print([name for name in ('service', 'training', 'torch', 'pydantic') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n")
