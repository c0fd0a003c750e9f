"""What every launcher must do: processes of this machine, Jobs of a fake API server, Jobs of a real cluster.

The real one runs with ``-m cluster`` in a namespace of its own on the cluster that KUBECONFIG names: see real_cluster.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_settings import cluster_settings
from real_cluster import ScriptedClient
from real_cluster import connected
from real_cluster import own_namespace
from real_cluster import small_settings

from deploy.contract.layout import job_of_name
from deploy.contract.layout import spec_key
from deploy.launch.kubernetes import KubernetesLauncher
from deploy.launch.local import LocalLauncher
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Launcher
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_machinery import Machinery

# An operator's kubeconfig may do without a certificate authority, as that of a throw-away cluster.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
NAME = "harden-a1-1"
Build = Callable[..., Launcher]
"""``build(code, waits=False)``: a launcher whose runs execute ``code``, or wait for ever."""

# A process without a handler ignores SIGTERM where it is the first of its PID namespace, as in a pod.
ENDS_WHEN_ASKED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
IGNORES = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(0.05)
"""


def order(name: str = NAME, **given: Any) -> Launch:
    identity = job_of_name(name)
    assert identity is not None
    return Launch(
        name=name,
        spec_uri=f"s3://bucket/{spec_key(*identity)}",
        spec_sha256="0" * 64,
        deadline_s=given.pop("deadline_s", 600),
        **given,
    )


def wait_for(launcher: Launcher, name: str, *phases: RunPhase, seconds: float = 90) -> Run:
    limit = time.monotonic() + seconds
    while (run := launcher.observe().get(name)) is None or run.phase not in phases:
        assert time.monotonic() < limit, (run, launcher.log_tail(name))
        time.sleep(0.05)
    return run


def wait_until_ready(launcher: Launcher, name: str = NAME) -> None:
    """Until the program has said so: before, a signal would end the interpreter."""
    limit = time.monotonic() + 90
    while "ready" not in launcher.log_tail(name):
        assert time.monotonic() < limit, launcher.observe()
        time.sleep(0.05)


def command(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def _local(tmp_path: Path) -> Iterator[Build]:
    made: list[LocalLauncher] = []

    def build(code: str, *, waits: bool = False) -> Launcher:
        root = tmp_path / "jobs"
        for earlier in made:
            earlier.close()
        programs = {"command": command(code), "scan_command": command(code)}
        launcher = LocalLauncher(root, environment={"PATH": os.defpath}, **programs)
        made.append(launcher)
        if waits:
            launcher._commands["job"] = tuple(command(ENDS_WHEN_ASKED.format(code=0)))
            launcher.launch(order("harden-blocker-1"))
            launcher._commands["job"] = tuple(command(code))
        return launcher

    yield build
    for launcher in made:
        launcher.close()


def _fake(cluster: FakeCluster, tmp_path: Path) -> Iterator[Build]:
    made: list[Any] = []
    machines: list[Machinery] = []

    def build(code: str, *, waits: bool = False) -> Launcher:
        if not machines:
            machines.append(Machinery(cluster, command(code), tmp_path))
            machines[0].unschedulable = "0/1 nodes are available: 1 Insufficient cpu." if waits else None
            machines[0].start()
        made.append(KubernetesLauncher(cluster.client(), cluster_settings(ttl_s=60)))
        return made[-1]

    yield build
    for launcher in made:
        launcher.close()
        launcher._client.close()
    for machine in machines:
        machine.close()


def _real() -> Iterator[Build]:
    made: list[Launcher] = []
    client = connected()
    with own_namespace(client) as namespace:

        def build(code: str, *, waits: bool = False) -> Launcher:
            placement = {"node_selector": {"no-such-label": "x"} if waits else {}}
            settings = small_settings(namespace, run={"placement": placement})
            made.append(KubernetesLauncher(ScriptedClient(client, code), settings))
            return made[-1]

        yield build
        for launcher in made:
            launcher.close()
    client.close()


@pytest.fixture(
    params=["local", "fake", pytest.param("cluster", marks=pytest.mark.cluster)],
)
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Build]:
    if request.param == "local":
        yield from _local(tmp_path)
    elif request.param == "fake":
        yield from _fake(request.getfixturevalue("fake_cluster"), tmp_path)
    else:
        yield from _real()


@pytest.mark.parametrize("code", [0, 3, 42, 50, 137])
def test_the_exit_code_is_the_programs(build: Build, code: int) -> None:
    launcher = build(f"raise SystemExit({code})")
    launcher.launch(order())
    run = wait_for(launcher, NAME, RunPhase.EXITED)
    assert (run.name, run.exit_code) == (NAME, code)
    assert run.reason == ("killed by SIGKILL" if code == 137 else None)


def test_the_program_gets_the_spec_and_a_place_to_write(build: Build) -> None:
    launcher = build(
        "import json, os, pathlib, sys, tempfile\n"
        "pathlib.Path(os.environ['TEMPER_SCRATCH'], 'x').write_text('x')\n"
        "tempfile.NamedTemporaryFile()\n"
        "print(json.dumps([sys.argv[1:], os.environ['TEMPER_POD']]))"
    )
    wanted = order()
    launcher.launch(wanted)
    assert wait_for(launcher, NAME, RunPhase.EXITED).exit_code == 0
    argv, pod = json.loads(launcher.log_tail(NAME))
    assert argv == ["--spec", wanted.spec_uri, "--sha256", wanted.spec_sha256]
    assert pod


def test_launched_again_it_runs_once(build: Build) -> None:
    launcher = build("print('ready')")
    for _ in range(3):
        launcher.launch(order())
    wait_for(launcher, NAME, RunPhase.EXITED)
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.EXITED
    assert launcher.log_tail(NAME) == "ready"


def test_jobs_and_scans_are_told_apart_by_name(build: Build) -> None:
    launcher = build("pass")
    launcher.launch(order())
    launcher.launch(order("scan-b2-1", kind="scan"))
    for name in (NAME, "scan-b2-1"):
        assert wait_for(launcher, name, RunPhase.EXITED).exit_code == 0
    assert set(launcher.observe()) == {NAME, "scan-b2-1"}


def test_it_is_seen_from_its_launch_on(build: Build) -> None:
    launcher = build(ENDS_WHEN_ASKED.format(code=51))
    launcher.observe()
    launcher.launch(order())
    assert launcher.observe()[NAME].phase in {RunPhase.PENDING, RunPhase.RUNNING}
    assert wait_for(launcher, NAME, RunPhase.RUNNING).exit_code is None


def test_stop_asks_first(build: Build) -> None:
    launcher = build(ENDS_WHEN_ASKED.format(code=51))
    launcher.launch(order())
    wait_until_ready(launcher)
    launcher.stop(NAME, grace_s=20)
    launcher.stop(NAME, grace_s=20)
    run = wait_for(launcher, NAME, RunPhase.EXITED)
    assert (run.exit_code, run.reason) == (51, "stopped")
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.EXITED
    assert "ready" in launcher.log_tail(NAME)


def test_stop_kills_what_does_not_listen(build: Build) -> None:
    launcher = build(IGNORES)
    launcher.launch(order())
    wait_until_ready(launcher)
    began = time.monotonic()
    launcher.stop(NAME, grace_s=1)
    assert time.monotonic() - began < 5
    run = wait_for(launcher, NAME, RunPhase.EXITED)
    assert (run.exit_code, run.reason) == (137, "stopped")


def test_one_that_waits_says_why_and_never_starts_once_stopped(build: Build) -> None:
    launcher = build("print('started')", waits=True)
    launcher.launch(order())
    waiting = wait_for(launcher, NAME, RunPhase.PENDING)
    assert waiting.reason
    launcher.stop(NAME, grace_s=1)
    ended = wait_for(launcher, NAME, RunPhase.EXITED)
    assert ended.exit_code == 143
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.EXITED
    assert launcher.log_tail(NAME) == ""
    launcher.remove(NAME)
    assert NAME not in launcher.observe()


def test_the_deadline_is_enforced_and_named(build: Build) -> None:
    launcher = build(ENDS_WHEN_ASKED.format(code=51))
    launcher.launch(order(deadline_s=3))
    run = wait_for(launcher, NAME, RunPhase.EXITED)
    assert run.exit_code in {51, 143}
    assert run.reason == "deadline of 3 s exceeded"


def test_remove_forgets_what_has_ended(build: Build) -> None:
    launcher = build("pass")
    launcher.launch(order())
    wait_for(launcher, NAME, RunPhase.EXITED)
    launcher.remove(NAME)
    assert NAME not in launcher.observe()
    launcher.remove(NAME)
    assert launcher.log_tail(NAME) == ""


def test_remove_ends_what_runs_and_frees_the_name(build: Build) -> None:
    launcher = build(ENDS_WHEN_ASKED.format(code=51))
    launcher.launch(order())
    wait_until_ready(launcher)
    launcher.remove(NAME)
    assert NAME not in launcher.observe()
    limit = time.monotonic() + 60
    while NAME not in launcher.observe():
        launcher.launch(order())  # as the reconciler does, tick after tick
        assert time.monotonic() < limit
        time.sleep(0.1)
    wait_until_ready(launcher)


def test_the_log_is_its_last_lines_and_harmless(build: Build) -> None:
    launcher = build(r"""
import sys
for number in range(100): print('line', number)
sys.stdout.write('\x1b[31mred\x1b[0m \u202e \x00end\n')
""")
    launcher.launch(order())
    wait_for(launcher, NAME, RunPhase.EXITED)
    tail = launcher.log_tail(NAME, lines=3)
    assert tail.splitlines()[:2] == ["line 98", "line 99"]
    assert tail.splitlines()[2].startswith(r"\u{1b}[31mred\u{1b}[0m")
    assert tail.isprintable() or set(tail) & set("\x1b\x00") == set()
    assert len(launcher.log_tail(NAME).splitlines()) == 50


def test_one_launcher_sees_what_another_launched(build: Build) -> None:
    first = build("raise SystemExit(42)")
    first.launch(order())
    wait_for(first, NAME, RunPhase.EXITED)
    first.close()
    second = build("raise SystemExit(7)")
    assert second.observe()[NAME].exit_code == 42
    second.launch(order())
    assert second.observe()[NAME].exit_code == 42
    second.remove(NAME)
    assert second.observe() == {}


def test_what_nobody_launched_is_nobodys(build: Build) -> None:
    launcher = build("pass")
    assert launcher.observe() == {}
    launcher.stop(NAME, grace_s=1)
    launcher.remove(NAME)
    assert launcher.log_tail(NAME) == ""
    assert launcher.observe() == {}


def test_a_bad_name_is_refused(build: Build) -> None:
    launcher = build("pass")
    bad = Launch(name="../../etc", spec_uri="s3://b/spec.json", spec_sha256="0" * 64, deadline_s=60)
    with pytest.raises(LaunchError, match=r"\.\./\.\./etc"):
        launcher.launch(bad)
    assert launcher.observe() == {}
