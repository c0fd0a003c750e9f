"""Real supervisors and real children; see tests/fault for those that are killed."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.process.record import LOG
from deploy.process.table import EndCause
from deploy.process.table import ProcessPhase
from deploy.process.table import ProcessTable
from deploy.process.table import ProcessTableError
from deploy.process.table import SupervisedProcess

ENVIRONMENT = {"PATH": os.defpath}
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 600 & wait; done"


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    table = ProcessTable(tmp_path / "table")
    yield table
    table.close(grace_s=0)


def start(table: ProcessTable, name: str, script: str, **options: float) -> bool:
    return table.start(name, ["sh", "-c", script], environment=ENVIRONMENT, **options)  # type: ignore[arg-type]


def wait_end(table: ProcessTable, name: str, timeout_s: float = 20) -> SupervisedProcess:
    limit = time.monotonic() + timeout_s
    while (process := table.observe()[name]).phase is ProcessPhase.RUNNING:
        assert time.monotonic() < limit, table.log_tail(name)
        time.sleep(0.01)
    return process


def wait_log(table: ProcessTable, name: str, text: str) -> None:
    limit = time.monotonic() + 20
    while text not in table.log_tail(name):
        assert time.monotonic() < limit, table.log_tail(name)
        time.sleep(0.01)


def holders(directory: Path) -> list[psutil.Process]:
    """Processes whose working directory lies below ``directory``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(directory)):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)],
)
def test_exit_codes(table: ProcessTable, script: str, code: int) -> None:
    start(table, "a", script)
    assert wait_end(table, "a") == SupervisedProcess(
        name="a", phase=ProcessPhase.EXITED, exit_code=code, cause=EndCause.EXITED
    )


def test_running_until_it_ends(table: ProcessTable) -> None:
    start(table, "a", "read line < fifo || sleep 600")
    assert table.observe()["a"] == SupervisedProcess(name="a", phase=ProcessPhase.RUNNING)


def test_what_cannot_be_executed_exits_127_and_says_why(table: ProcessTable) -> None:
    table.start("a", ["/nonexistent/program"], environment={})
    assert wait_end(table, "a").exit_code == 127
    assert "/nonexistent/program" in table.log_tail("a")


def test_environment_is_the_given_one_and_touches_no_disk(table: ProcessTable, tmp_path: Path) -> None:
    secret = "correct horse battery staple"
    big = "x" * 100_000  # more than a pipe holds
    code = "import json, os; print(json.dumps(sorted(os.environ))); print(len(os.environ['BIG']))"
    environment = {"AWS_SECRET_ACCESS_KEY": secret, "BIG": big}
    table.start("a", [sys.executable, "-S", "-c", code], environment=environment)
    wait_end(table, "a")
    names, size = table.log_tail("a").split("\n")
    assert set(json.loads(names)) - {"LC_CTYPE"} == {"AWS_SECRET_ACCESS_KEY", "BIG", "TEMPER_PROCESS_TOKEN"}
    assert size == str(len(big))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_a_child_inherits_no_descriptor(table: ProcessTable) -> None:
    start(table, "a", "ls /proc/self/fd; readlink /proc/self/fd/0")
    wait_end(table, "a")
    assert table.log_tail("a").split() == ["0", "1", "2", "3", "/dev/null"]  # 3 is ls's own


def test_starts_in_its_scratch_directory(table: ProcessTable) -> None:
    start(table, "a", "pwd")
    wait_end(table, "a")
    assert table.log_tail("a") == str(table.scratch("a"))


def test_labels_come_back(table: ProcessTable) -> None:
    table.start("a", ["true"], environment=ENVIRONMENT, labels={"pod": "pod-1"})
    assert table.labels("a") == {"pod": "pod-1"}
    assert table.labels("b") == {}


def test_double_start_starts_one(table: ProcessTable, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    assert start(table, "a", f"echo started >> {marks}")
    assert not start(table, "a", f"echo started >> {marks}")
    wait_end(table, "a")
    assert not start(table, "a", f"echo started >> {marks}")
    assert marks.read_text() == "started\n"


@pytest.mark.parametrize("name", ["", "../a", "a/b", "A", ".new", "-a", "a\n", "a" * 200])
def test_bad_names_are_refused(table: ProcessTable, name: str) -> None:
    with pytest.raises(ProcessTableError, match="not a process name"):
        start(table, name, "true")


def test_stop_gives_the_child_its_grace(table: ProcessTable) -> None:
    start(table, "a", "trap 'echo saved; exit 51' TERM; echo ready; while :; do sleep 0.05; done")
    wait_log(table, "a", "ready")
    table.stop("a", grace_s=20)
    process = wait_end(table, "a")
    assert (process.exit_code, process.cause) == (51, EndCause.STOPPED)
    assert "saved" in table.log_tail("a")


def test_stop_right_after_start_is_not_lost(table: ProcessTable) -> None:
    start(table, "a", "sleep 600")
    table.stop("a", grace_s=0.5)
    assert wait_end(table, "a", timeout_s=5).cause is EndCause.STOPPED


def test_stop_kills_a_child_that_ignores_sigterm(table: ProcessTable) -> None:
    start(table, "a", STUBBORN)
    wait_log(table, "a", "ready")
    began = time.monotonic()
    table.stop("a", grace_s=0.3)
    assert time.monotonic() - began < 0.2, "stop must not wait"
    process = wait_end(table, "a")
    assert (process.exit_code, process.cause) == (137, EndCause.STOPPED)
    assert holders(table.directory("a")) == []


def test_a_second_stop_shortens_the_grace(table: ProcessTable) -> None:
    start(table, "a", STUBBORN)
    wait_log(table, "a", "ready")
    table.stop("a", grace_s=600)
    table.stop("a", grace_s=0)
    table.stop("a", grace_s=600)
    assert wait_end(table, "a").exit_code == 137


def test_stop_of_a_paused_child(table: ProcessTable) -> None:
    start(table, "a", "echo ready; kill -STOP $$")
    wait_log(table, "a", "ready")
    table.stop("a", grace_s=0.2)
    assert wait_end(table, "a").exit_code == 137


def test_stop_of_nothing_is_no_error(table: ProcessTable) -> None:
    table.stop("none", grace_s=1)
    table.remove("none")
    start(table, "a", "true")
    wait_end(table, "a")
    table.stop("a", grace_s=1)


def test_deadline(table: ProcessTable) -> None:
    start(table, "a", STUBBORN, deadline_s=0.4, grace_s=0.2)
    process = wait_end(table, "a")
    assert (process.exit_code, process.cause) == (137, EndCause.DEADLINE)


def test_children_that_outlive_the_child_are_killed(table: ProcessTable) -> None:
    # One in the session, one that left it, one that left it and has no environment.
    start(table, "a", "sleep 600 & setsid sleep 600 & setsid env -i sleep 600 & sleep 0.3; exit 5")
    assert wait_end(table, "a").exit_code == 5
    assert holders(table.directory("a")) == []


def test_remove_kills_and_forgets(table: ProcessTable) -> None:
    start(table, "a", STUBBORN)
    wait_log(table, "a", "ready")
    table.remove("a")
    assert table.observe() == {}
    assert holders(table.directory("a")) == []
    assert not table.directory("a").exists()
    assert start(table, "a", "true"), "the name is free again"


def test_close_stops_all_and_waits(table: ProcessTable) -> None:
    for name in ("a", "b", "c"):
        start(table, name, STUBBORN)
    for name in ("a", "b", "c"):
        wait_log(table, name, "ready")
    began = time.monotonic()
    table.close(grace_s=0.5)
    assert time.monotonic() - began < 5, "they are stopped side by side"
    assert {process.cause for process in table.observe().values()} == {EndCause.SERVICE_GONE}
    assert holders(table.directory("a").parent) == []


def test_a_new_table_knows_the_old_ones_processes(table: ProcessTable, tmp_path: Path) -> None:
    start(table, "a", "exit 7")
    wait_end(table, "a")
    table.close()
    again = ProcessTable(tmp_path / "table")
    assert again.observe()["a"].exit_code == 7
    assert not start(again, "a", "true")
    again.remove("a")
    assert again.observe() == {}


def test_leftovers_of_a_crashed_start_are_cleared(tmp_path: Path) -> None:
    for name in (".new-1", ".removed-2"):
        (tmp_path / name / "scratch").mkdir(parents=True)
    assert ProcessTable(tmp_path).observe() == {}
    assert list(tmp_path.iterdir()) == []


def test_output_is_escaped_and_appended_in_order(table: ProcessTable) -> None:
    start(table, "a", "printf 'out\\033[2J\\n'; printf 'err\\007\\n' >&2")
    wait_end(table, "a")
    assert table.log_tail("a") == "out\\u{1b}[2J\nerr\\u{7}"
    assert (table.directory("a") / LOG).stat().st_mode & 0o077 == 0


def test_starts_quickly(table: ProcessTable) -> None:
    began = time.monotonic()
    start(table, "a", "true")
    assert time.monotonic() - began < 1.0
    wait_end(table, "a")
    modules = "import sys; import deploy.process.supervisor; print(any('site-packages' in str(getattr(m, '__file__', '')) for m in sys.modules.values()))"
    table.start(
        "b",
        [sys.executable, "-S", "-P", "-c", modules],
        environment={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    wait_end(table, "b")
    assert table.log_tail("b") == "False", "the supervisor is standard library only"
