"""Who is killed, in which order, and what is left: nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from deploy.process.record import write_record
from deploy.process.table import EndCause
from deploy.process.table import ProcessPhase
from deploy.process.table import ProcessTable

# The child ignores SIGTERM, has children in its session and one that left it.

FAMILY = "trap '' TERM; sleep 611 & setsid sleep 612 & echo ready; while :; do sleep 613 & wait; done"
SERVICE = """
import sys, time
from pathlib import Path
from deploy.process.table import ProcessTable
table = ProcessTable(Path(sys.argv[1]))
table.start("a", ["sh", "-c", sys.argv[2]], environment={"PATH": "/usr/bin:/bin"}, grace_s=float(sys.argv[3]))
print("started", flush=True)
time.sleep(600)
"""


def alive_below(directory: Path) -> list[int]:
    """Living processes that work below ``directory`` or have it as an argument."""
    found = []
    for process in psutil.process_iter():
        try:
            below = process.cwd().startswith(str(directory)) or str(directory) in process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and below:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


eventually = partial(until, seconds=20.0)


def state(root: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((root / "a/state.json").read_text())
    return record


def wait_ready(root: Path) -> None:
    log = root / "a/log.txt"
    eventually(lambda: log.exists() and b"ready" in log.read_bytes() and (root / "a/state.json").exists())


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "table"
    for pid in alive_below(tmp_path):
        psutil.Process(pid).kill()


@pytest.fixture
def serve(root: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str = FAMILY, grace_s: float = 0.3) -> subprocess.Popen[bytes]:
        service = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(root), script, str(grace_s)], stdout=subprocess.PIPE
        )
        started.append(service)
        assert service.stdout is not None
        assert service.stdout.readline() == b"started\n"
        wait_ready(root)
        return service

    yield start
    for service in started:
        service.kill()
        service.communicate()


def test_service_killed_leaves_nobody(root: Path, serve: Callable[..., subprocess.Popen[bytes]]) -> None:
    service = serve()
    assert len(alive_below(root)) >= 5
    service.kill()
    service.wait()
    eventually(lambda: not alive_below(root))
    process = ProcessTable(root).observe()["a"]
    assert (process.exit_code, process.cause) == (137, EndCause.SERVICE_GONE)


def test_service_killed_gives_the_child_its_grace(
    root: Path, serve: Callable[..., subprocess.Popen[bytes]]
) -> None:
    service = serve("trap 'echo saved; exit 51' TERM; echo ready; while :; do sleep 0.05; done", grace_s=20)
    service.kill()
    service.wait()
    eventually(lambda: not alive_below(root))
    table = ProcessTable(root)
    assert table.observe()["a"].exit_code == 51
    assert "saved" in table.log_tail("a")


def test_restart_while_the_old_child_is_still_ending(
    root: Path, serve: Callable[..., subprocess.Popen[bytes]]
) -> None:
    service = serve(grace_s=1.5)
    service.kill()
    service.wait()
    table = ProcessTable(root)
    assert table.observe()["a"].phase is ProcessPhase.RUNNING, "it is not lost, it is ending"
    assert not table.start("a", ["true"], environment={})
    eventually(lambda: table.observe()["a"].phase is ProcessPhase.EXITED)
    eventually(lambda: not alive_below(root))  # the supervisor itself goes last


def test_restart_may_remove_what_is_still_ending(
    root: Path, serve: Callable[..., subprocess.Popen[bytes]]
) -> None:
    service = serve(grace_s=1.5)
    service.kill()
    service.wait()
    table = ProcessTable(root)
    table.remove("a")
    assert not alive_below(root)
    assert table.observe() == {}


def test_supervisor_killed_takes_the_child_with_it(root: Path) -> None:
    table = ProcessTable(root)
    table.start("a", ["sh", "-c", FAMILY], environment={"PATH": os.defpath})
    wait_ready(root)
    recorded = state(root)
    os.kill(recorded["supervisor_pid"], signal.SIGKILL)
    eventually(
        lambda: (
            not psutil.pid_exists(recorded["child_pid"])
            or psutil.Process(recorded["child_pid"]).status() == psutil.STATUS_ZOMBIE
        )
    )
    eventually(lambda: table.observe()["a"].phase is ProcessPhase.LOST)
    assert table.observe()["a"].exit_code is None
    assert not alive_below(root), "what the child had started is swept"
    table.close()
    assert ProcessTable(root).observe()["a"].phase is ProcessPhase.LOST


def test_service_and_supervisor_killed_is_swept_after_the_restart(
    root: Path, serve: Callable[..., subprocess.Popen[bytes]]
) -> None:
    service = serve()
    os.kill(state(root)["supervisor_pid"], signal.SIGKILL)
    service.kill()
    service.wait()
    table = ProcessTable(root)
    eventually(lambda: table.observe()["a"].phase is ProcessPhase.LOST)  # the kill takes a moment
    assert not alive_below(root)


def test_supervisor_told_to_stop_stops_the_child(root: Path) -> None:
    table = ProcessTable(root)
    table.start("a", ["sh", "-c", FAMILY], environment={"PATH": os.defpath}, grace_s=0.3)
    wait_ready(root)
    os.kill(state(root)["supervisor_pid"], signal.SIGTERM)
    eventually(lambda: table.observe()["a"].phase is ProcessPhase.EXITED)
    assert table.observe()["a"].cause is EndCause.STOPPED
    assert not alive_below(root)
    table.close()


def test_a_paused_supervisor_can_still_be_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.process.table.REMOVE_S", 0.3)
    table = ProcessTable(root)
    table.start("a", ["sh", "-c", FAMILY], environment={"PATH": os.defpath})
    wait_ready(root)
    os.kill(state(root)["supervisor_pid"], signal.SIGSTOP)
    table.remove("a")
    assert not alive_below(root)
    table.close()


def test_pid_reuse_spares_a_stranger(root: Path) -> None:
    """A lost entry names a session that now is somebody else's."""
    stranger = subprocess.Popen(["sleep", "614"], start_new_session=True)
    try:
        started = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
        directory = root / "a"
        directory.mkdir(parents=True)
        write_record(directory / "order.json", {"token": "t", "labels": {}})
        record = {
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "supervisor_pid": stranger.pid,
            "supervisor_started": started - 100,
            "child_pid": stranger.pid,
            "child_started": started - 100,
            "session": stranger.pid,
        }
        write_record(directory / "state.json", record)
        table = ProcessTable(root)
        assert table.observe()["a"].phase is ProcessPhase.LOST
        assert stranger.poll() is None
        # The same record with the right start time is ours: the guard, not chance, spared it.
        write_record(directory / "state.json", {**record, "child_started": started})
        (directory / "lost.json").unlink()
        table.observe()
        assert stranger.wait(5) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_lost_before_it_was_recorded_is_swept_by_its_token(root: Path) -> None:
    table = ProcessTable(root)
    table.start("a", ["sh", "-c", FAMILY], environment={"PATH": os.defpath})
    wait_ready(root)
    supervisor = state(root)["supervisor_pid"]
    (root / "a/state.json").unlink()
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: table.observe()["a"].phase is ProcessPhase.LOST)
    assert not alive_below(root)
    table.close()


def test_many_services_race_for_one_name(root: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    root.mkdir()
    script = f"echo ready; echo started >> {marks}; sleep 615"
    tables = [ProcessTable(root) for _ in range(8)]
    won = [table.start("a", ["sh", "-c", script], environment={"PATH": os.defpath}) for table in tables]
    assert won.count(True) == 1
    wait_ready(root)
    for table in tables:
        table.close(grace_s=0)
    assert marks.read_text() == "started\n"


def test_service_killed_in_the_middle_of_a_start(root: Path) -> None:
    """An entry whose supervisor never came to life is lost, not running for ever."""
    directory = root / "a"
    directory.mkdir(parents=True)
    write_record(directory / "order.json", {"token": "t", "labels": {}})
    (directory / "lock").touch()
    table = ProcessTable(root)
    assert table.observe()["a"].phase is ProcessPhase.LOST
    table.remove("a")
    assert table.start("a", ["true"], environment={"PATH": os.defpath})
    table.close()
