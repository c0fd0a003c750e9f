"""The local launcher with a stand-in for ``python -m training``."""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.launch.local import LocalLauncher
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Launcher
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
WAIT = "import pathlib, time\nwhile not pathlib.Path({gate!r}).exists(): time.sleep(0.02)"


def command(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def order(name: str = "harden-a-1", deadline_s: int = 600) -> Launch:
    return Launch(
        name=name, spec_uri=f"file:///{name}/spec.json", spec_sha256="0" * 64, deadline_s=deadline_s
    )


def wait_for(launcher: Launcher, name: str, *phases: RunPhase) -> Run:
    limit = time.monotonic() + 30
    while (run := launcher.observe()[name]).phase not in phases:
        assert time.monotonic() < limit, (run, launcher.log_tail(name))
        time.sleep(0.02)
    return run


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LocalLauncher]]:
    made: list[LocalLauncher] = []

    def build(code: str, *, root: str = "jobs", environment: dict[str, str] | None = None) -> LocalLauncher:
        launcher = LocalLauncher(tmp_path / root, command=command(code), environment=environment or {})
        made.append(launcher)
        return launcher

    yield build
    for launcher in made:
        launcher.close()


def test_the_job_gets_the_spec_and_nothing_else(make: Callable[..., LocalLauncher]) -> None:
    launcher = make(
        SHOW,
        environment={
            "PATH": os.defpath,
            "AWS_ACCESS_KEY_ID": "id",
            "VLLM_HOST_IP": "127.0.0.1",
            "TEMPER_API_KEY": "the service's own",
            "DATABASE_URL": "the service's own",
        },
    )
    launcher.launch(order())
    assert wait_for(launcher, "harden-a-1", RunPhase.EXITED).exit_code == 0
    argv, environment, cwd = json.loads(launcher.log_tail("harden-a-1"))
    assert argv == ["--spec", "file:///harden-a-1/spec.json", "--sha256", "0" * 64]
    assert environment["AWS_ACCESS_KEY_ID"] == "id"
    assert environment["TEMPER_POD"] == launcher.pod("harden-a-1")
    assert environment["TEMPER_SCRATCH"] == environment["TMPDIR"] == cwd
    assert not {"TEMPER_API_KEY", "DATABASE_URL"} & set(environment)


def test_default_command_is_the_training_package(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, python="/nonexistent/python", environment={})
    launcher.launch(order())
    run = wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    assert run.exit_code == 127
    recorded = json.loads((tmp_path / "runs/harden-a-1/order.json").read_text())
    assert recorded["argv"][:3] == ["/nonexistent/python", "-m", "training"]
    launcher.close()


def test_exit_code_is_the_jobs(make: Callable[..., LocalLauncher]) -> None:
    launcher = make("raise SystemExit(42)")
    launcher.launch(order())
    assert wait_for(launcher, "harden-a-1", RunPhase.EXITED) == Run(
        name="harden-a-1", phase=RunPhase.EXITED, exit_code=42
    )


def test_a_signal_is_named(make: Callable[..., LocalLauncher]) -> None:
    launcher = make("import os; os.kill(os.getpid(), 9)")
    launcher.launch(order())
    run = wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    assert (run.exit_code, run.reason) == (137, "killed by SIGKILL")


def test_launch_twice_runs_once(make: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    launcher = make(f"open({str(tmp_path / 'marks')!r}, 'a').write('x')")
    for _ in range(3):
        launcher.launch(order())
    wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    launcher.launch(order())
    launcher.observe()
    assert (tmp_path / "marks").read_text() == "x"


def test_one_at_a_time_in_order(make: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    launcher = make(
        f"import sys\nopen({str(marks)!r}, 'a').write(sys.argv[2] + '\\n')\n{WAIT.format(gate=str(tmp_path / 'gate'))}"
    )
    names = [f"harden-{letter}-1" for letter in "cab"]
    for name in names:
        launcher.launch(order(name))
    seen = launcher.observe()
    assert [seen[name].phase for name in names] == [RunPhase.RUNNING, RunPhase.PENDING, RunPhase.PENDING]
    assert [seen[name].reason for name in names[1:]] == [
        "waiting for 1 job before it",
        "waiting for 2 jobs before it",
    ]
    assert launcher.pod(names[1]) is None
    (tmp_path / "gate").touch()
    for name in names:
        wait_for(launcher, name, RunPhase.EXITED)
    assert marks.read_text().splitlines() == [f"file:///{name}/spec.json" for name in names]


def test_a_waiting_attempt_that_is_stopped_never_starts(
    make: Callable[..., LocalLauncher], tmp_path: Path
) -> None:
    launcher = make(WAIT.format(gate=str(tmp_path / "gate")))
    launcher.launch(order("harden-a-1"))
    launcher.launch(order("harden-b-1"))
    launcher.stop("harden-b-1", grace_s=1)
    run = launcher.observe()["harden-b-1"]
    assert (run.phase, run.exit_code, run.reason) == (RunPhase.EXITED, 143, "stopped before it started")
    launcher.launch(order("harden-b-1"))  # a repeated order does not revive it
    (tmp_path / "gate").touch()
    wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    assert launcher.observe()["harden-b-1"].phase is RunPhase.EXITED
    launcher.remove("harden-b-1")
    assert set(launcher.observe()) == {"harden-a-1"}


def test_a_waiting_attempt_can_be_removed(make: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    launcher = make(WAIT.format(gate=str(tmp_path / "gate")))
    launcher.launch(order("harden-a-1"))
    launcher.launch(order("harden-b-1"))
    launcher.remove("harden-b-1")
    assert set(launcher.observe()) == {"harden-a-1"}


def test_the_queue_survives_a_restart(make: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    first = make(WAIT.format(gate=str(tmp_path / "gate")))
    first.launch(order("harden-a-1"))
    first.launch(order("harden-b-1"))
    first.close()
    second = make("raise SystemExit(5)")
    seen = second.observe()
    assert (seen["harden-a-1"].phase, seen["harden-a-1"].reason) == (
        RunPhase.EXITED,
        "the service went away",
    )
    assert wait_for(second, "harden-b-1", RunPhase.EXITED).exit_code == 5


def test_deadline_is_enforced_and_named(make: Callable[..., LocalLauncher]) -> None:
    launcher = make("import time; time.sleep(600)")
    launcher.launch(order(deadline_s=1))
    run = wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    assert (run.exit_code, run.reason) == (143, "deadline of 1 s exceeded")


def test_remove_deletes_scratch(make: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    launcher = make("open('checkpoint', 'w').write('x'); import time; time.sleep(600)")
    launcher.launch(order())
    scratch = tmp_path / "jobs/runs/harden-a-1/scratch"
    limit = time.monotonic() + 20
    while not (scratch / "checkpoint").exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    launcher.remove("harden-a-1")
    assert launcher.observe() == {}
    assert not scratch.exists()
    launcher.remove("harden-a-1")


def test_no_log_yet(make: Callable[..., LocalLauncher]) -> None:
    assert make("").log_tail("harden-a-1") == ""


def test_what_cannot_be_launched_is_a_launch_error(make: Callable[..., LocalLauncher]) -> None:
    launcher = make("")
    with pytest.raises(LaunchError, match="not a process name"):
        launcher.launch(order("../../etc"))
    with pytest.raises(LaunchError, match="not a process name"):
        launcher.stop("../../etc", grace_s=1)


def test_a_long_path_moves_vllms_sockets(make: Callable[..., LocalLauncher]) -> None:
    launcher = make(SHOW, root="x" * 100)
    launcher.launch(order())
    wait_for(launcher, "harden-a-1", RunPhase.EXITED)
    environment = json.loads(launcher.log_tail("harden-a-1"))[1]
    assert len(environment["VLLM_RPC_BASE_PATH"]) < 64 < len(environment["TMPDIR"])


def test_scans_have_places_of_their_own_and_run_their_own_module(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    launcher = LocalLauncher(
        tmp_path,
        command=command(WAIT.format(gate=str(gate))),
        scan_command=command(SHOW),
        environment={"PATH": os.defpath},
    )
    try:
        job, scan = order("harden-a-1"), order("scan-a-1")
        launcher.launch(job)
        launcher.launch(order("harden-b-1"))
        launcher.launch(dataclasses.replace(scan, kind="scan"))
        wait_for(launcher, "scan-a-1", RunPhase.EXITED)
        argv, _, _ = json.loads(launcher.log_tail("scan-a-1"))
        assert argv == ["--spec", scan.spec_uri, "--sha256", scan.spec_sha256]
        seen = launcher.observe()
        assert (seen["harden-a-1"].phase, seen["harden-b-1"].phase) == (RunPhase.RUNNING, RunPhase.PENDING)
        assert seen["harden-b-1"].reason == "waiting for 1 job before it"
    finally:
        gate.touch()
        launcher.close()


def test_a_waiting_scan_is_still_a_scan_after_a_restart(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    scans = command(WAIT.format(gate=str(gate)))
    first = LocalLauncher(
        tmp_path, command=command("raise SystemExit(9)"), scan_command=scans, environment={}
    )
    try:
        for name in ("scan-a-1", "scan-b-1"):
            first.launch(dataclasses.replace(order(name), kind="scan"))
        assert first.observe()["scan-b-1"].reason == "waiting for 1 scan before it"
    finally:
        first.close()
    gate.touch()
    second = LocalLauncher(
        tmp_path, command=command("raise SystemExit(9)"), scan_command=scans, environment={}
    )
    try:
        assert wait_for(second, "scan-b-1", RunPhase.EXITED).exit_code == 0
    finally:
        second.close()
