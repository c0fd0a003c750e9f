"""Rows E1, E2, E5-E7, E9-E13 and E17 of the test matrix, as far as they are the launcher's, on a fake API server."""

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster_settings import cluster_settings
from waiting import until

from deploy.contract.layout import job_of_name
from deploy.contract.layout import spec_key
from deploy.contract.resources import Resources
from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.watched import WatchedObjects
from deploy.launch.kubernetes import KubernetesLauncher
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase
from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_machinery import Machinery

NAME = "harden-a1-1"
JOBS_KEY = ("batch/v1", "jobs", "temper-jobs")
WAITS = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(51))\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)"
TIMEOUT_S = 600
Launching = Callable[..., KubernetesLauncher]


def order(name: str = NAME, **given: Any) -> Launch:
    identity = job_of_name(name)
    assert identity is not None
    made = Launch(
        name=name, spec_uri=f"s3://bucket/{spec_key(*identity)}", spec_sha256="0" * 64, deadline_s=600
    )
    return dataclasses.replace(made, **given)


@pytest.fixture
def launching(fake_cluster: FakeCluster) -> Iterator[Launching]:
    """Makes launchers; each stands for one life of the reconciler."""
    made: list[tuple[KubernetesLauncher, KubernetesClient]] = []

    def build(**settings: Any) -> KubernetesLauncher:
        client = fake_cluster.client(timeout_s=1)
        given = {"pending_timeout_s": TIMEOUT_S, **settings}
        made.append((KubernetesLauncher(client, cluster_settings(**given)), client))
        return made[-1][0]

    yield build
    for launcher, client in made:
        launcher.close()
        client.close()


@pytest.fixture
def machinery(fake_cluster: FakeCluster, tmp_path: Path) -> Iterator[Callable[[str], Machinery]]:
    """Makes the one that acts on the objects; without it a test does."""
    made: list[Machinery] = []

    def build(code: str) -> Machinery:
        made.append(Machinery(fake_cluster, [sys.executable, "-S", "-c", code], tmp_path))
        made[-1].start()
        return made[-1]

    yield build
    for each in made:
        each.close()


eventually = partial(until, seconds=20.0, pause_s=0.02)


def wait_for(launcher: KubernetesLauncher, phase: RunPhase, name: str = NAME) -> Run:
    seen: list[Run] = []

    def arrived() -> bool:
        run = launcher.observe().get(name)
        seen.extend([run] if run is not None else [])
        return run is not None and run.phase is phase

    eventually(arrived)
    return seen[-1]


def only_pod(cluster: FakeCluster) -> str:
    eventually(lambda: bool(cluster.all("pods")))
    return next(iter(cluster.all("pods")))


def requests(cluster: FakeCluster, method: str, plural: str) -> int:
    return sum(each == method and path.endswith(f"/{plural}") for each, path in cluster.requests)


# ---- E1, E12: creating ----------------------------------------------------------------------


def test_e1_a_create_whose_answer_is_lost_is_adopted(fake_cluster: FakeCluster, launching: Launching) -> None:
    launcher = launching()
    fake_cluster.lose_answer("POST", "jobs")
    with pytest.raises(LaunchError, match=f"cannot launch {NAME}"):
        launcher.launch(order())
    launcher.launch(order())
    assert set(launcher.observe()) == {NAME}
    assert len(fake_cluster.all("jobs")) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_create_that_is_refused_for_now_is_an_error_and_no_run(
    fake_cluster: FakeCluster, launching: Launching, status: int
) -> None:
    launcher = launching()
    fake_cluster.fail("POST", "jobs", status=status)
    with pytest.raises(LaunchError, match=str(status)):
        launcher.launch(order())
    assert launcher.observe() == {}
    launcher.launch(order())
    assert set(launcher.observe()) == {NAME}


def test_a_create_that_a_policy_refuses_says_so(fake_cluster: FakeCluster, launching: Launching) -> None:
    fake_cluster.fail("POST", "jobs", status=403)
    with pytest.raises(LaunchError, match="403 Scripted: scripted"):
        launching().launch(order())


def test_two_reconcilers_create_one_job(fake_cluster: FakeCluster, launching: Launching) -> None:
    first, second = launching(), launching()
    for launcher in (first, second, first):
        launcher.launch(order())
    assert len(fake_cluster.all("jobs")) == 1
    eventually(lambda: set(second.observe()) == {NAME})


def test_e12_a_job_that_is_gone_is_launched_again_under_its_name(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    launcher = launching()
    launcher.launch(order())
    before = fake_cluster.all("jobs")[NAME]["metadata"]["uid"]
    fake_cluster.expunge("jobs", NAME)
    eventually(lambda: launcher.observe() == {})
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.PENDING
    assert fake_cluster.all("jobs")[NAME]["metadata"]["uid"] != before


# ---- E2: started twice ----------------------------------------------------------------------


def test_a_pod_started_twice_is_one_run_with_one_end(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    launcher, machine = launching(), machinery("import time; time.sleep(0.5)")
    launcher.launch(order())
    only_pod(fake_cluster)
    machine.make_pod(fake_cluster.all("jobs")[NAME])
    assert len(fake_cluster.all("pods")) == 2
    wait_for(launcher, RunPhase.RUNNING)
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 0


# ---- E4-E6: exit codes ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [3, 40, 49, 50, 55, 1])
def test_no_exit_code_is_retried_by_the_cluster(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery], code: int
) -> None:
    launcher = launching()
    machinery(f"raise SystemExit({code})")
    launcher.launch(order())
    assert wait_for(launcher, RunPhase.EXITED).exit_code == code
    time.sleep(0.1)
    assert len(fake_cluster.all("pods")) == 1


def test_a_drained_pod_is_replaced_by_the_cluster_and_by_nobody_else(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    launcher, machine = launching(), machinery(WAITS)
    launcher.launch(order())
    wait_for(launcher, RunPhase.RUNNING)
    first = only_pod(fake_cluster)
    eventually(lambda: b"ready" in fake_cluster.logs.get(first, b""))
    phases = []
    machine.disrupt(first)

    def replaced() -> bool:
        phases.append(launcher.observe()[NAME].phase)
        return first not in fake_cluster.all("pods") and phases[-1] is RunPhase.RUNNING

    eventually(replaced)
    assert set(phases) <= {RunPhase.RUNNING, RunPhase.PENDING}
    assert len(fake_cluster.all("jobs")) == 1
    assert fake_cluster.all("pods").keys() != {first}


# ---- E7: pods that do not start, or are killed ----------------------------------------------


def _pod_says(cluster: FakeCluster, job: Object, status: Object) -> None:
    """A pod of the Job, as the cluster shows it."""
    labels = {
        **job["spec"]["template"]["metadata"]["labels"],
        "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
    }
    owner = {"kind": "Job", "uid": job["metadata"]["uid"]}
    metadata = {"name": f"{NAME}-x", "labels": labels, "ownerReferences": [owner]}
    cluster.create(("v1", "pods", "temper-jobs"), {"metadata": metadata, "status": status})


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            RunCause.UNSCHEDULABLE,
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "training",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
                    }
                ]
            },
            RunCause.IMAGE_PULL_FAILED,
            "ImagePullBackOff: not found",
        ),
    ],
    ids=["unschedulable", "image"],
)
def test_waiting_is_bounded_by_the_clusters_own_clock(
    fake_cluster: FakeCluster, launching: Launching, status: Object, cause: RunCause, words: str
) -> None:
    fake_cluster.ahead_s = -86_400.0  # its clock is a day behind ours, and nothing comes of it
    launcher = launching()
    launcher.launch(order())
    _pod_says(fake_cluster, fake_cluster.all("jobs")[NAME], {"phase": "Pending", **status})
    eventually(lambda: launcher.observe()[NAME].cause is cause)
    waiting = launcher.observe()[NAME]
    assert (waiting.phase, words in (waiting.reason or "")) == (RunPhase.PENDING, True)
    fake_cluster.ahead_s += TIMEOUT_S - 20
    launcher.launch(order())  # whatever is asked, the answer tells the time
    assert launcher.observe()[NAME].phase is RunPhase.PENDING
    fake_cluster.ahead_s += 25
    launcher.launch(order())
    lost = launcher.observe()[NAME]
    assert (lost.phase, lost.cause) == (RunPhase.LOST, cause)
    assert words in (lost.reason or "")
    launcher.remove(NAME)
    assert launcher.observe() == {}
    eventually(lambda: not fake_cluster.all("pods"))


def test_a_jobs_wait_in_a_queue_is_not_bounded(fake_cluster: FakeCluster, launching: Launching) -> None:
    fake_cluster.absent.add("workloads")
    launcher = launching(queue="training")
    launcher.launch(order())
    fake_cluster.ahead_s += 100 * TIMEOUT_S
    launcher.launch(order())
    seen = launcher.observe()[NAME]
    assert (seen.phase, seen.cause) == (RunPhase.PENDING, RunCause.QUEUED)


def test_a_job_for_which_no_pod_is_made_does_not_wait_for_ever(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    launcher = launching()
    launcher.launch(order())
    assert "quota" in (launcher.observe()[NAME].reason or "")
    fake_cluster.ahead_s += TIMEOUT_S + 5
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.LOST


def test_a_run_killed_for_its_memory_says_so(fake_cluster: FakeCluster, launching: Launching) -> None:
    launcher = launching()
    launcher.launch(order())
    terminated = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": fake_cluster.timestamp()}
    statuses = [{"name": "training", "state": {"terminated": terminated}}]
    _pod_says(
        fake_cluster,
        fake_cluster.all("jobs")[NAME],
        {"phase": "Failed", "containerStatuses": statuses},
    )
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": ""}
    fake_cluster.update("jobs", NAME, lambda job: job["status"].update(conditions=[failed]))
    run = wait_for(launcher, RunPhase.EXITED)
    assert (run.exit_code, run.cause) == (137, RunCause.OUT_OF_MEMORY)


# ---- E9: stopping ---------------------------------------------------------------------------


def test_the_exit_code_of_a_pod_that_is_gone_is_remembered(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    launcher = launching()
    machinery(WAITS)
    launcher.launch(order())
    pod = only_pod(fake_cluster)
    eventually(lambda: "ready" in launcher.log_tail(NAME))
    launcher.stop(NAME, grace_s=10)
    run = wait_for(launcher, RunPhase.EXITED)
    assert pod not in fake_cluster.all("pods")
    assert (run.exit_code, run.reason) == (51, "stopped")
    assert launcher.log_tail(NAME) == "ready"  # kept from before, for the pod took its own along
    successor = launching()
    assert successor.observe()[NAME].exit_code == 143  # it has not seen the pod


@pytest.mark.parametrize("plural", ["jobs", "pods"])
def test_a_stop_that_fails_halfway_is_finished_by_the_next(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery], plural: str
) -> None:
    launcher = launching()
    machinery(WAITS)
    launcher.launch(order())
    eventually(lambda: "ready" in launcher.log_tail(NAME))
    method = "PATCH" if plural == "jobs" else "DELETE"
    fake_cluster.fail(method, plural, status=500)
    with pytest.raises(LaunchError, match=f"cannot stop {NAME}: 500"):
        launcher.stop(NAME, grace_s=10)
    launcher.stop(NAME, grace_s=10)
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 51


def test_a_job_that_kueue_holds_back_ends_when_it_is_stopped(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    fake_cluster.absent.add("workloads")
    launcher = launching(queue="training")
    launcher.launch(order())
    launcher.stop(NAME, grace_s=1)
    run = launcher.observe()[NAME]
    assert (run.phase, run.exit_code, run.reason) == (RunPhase.EXITED, 143, "stopped before it started")
    assert fake_cluster.all("jobs")[NAME]["spec"]["activeDeadlineSeconds"] == 1  # if it were admitted now


def test_a_job_that_kueue_preempts_goes_back_to_waiting(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    fake_cluster.absent.add("workloads")
    launcher = launching(queue="training")
    machinery(WAITS)
    launcher.launch(order())

    def suspend(value: bool) -> None:
        fake_cluster.update("jobs", NAME, lambda job: job["spec"].update(suspend=value))

    assert launcher.observe()[NAME].cause is RunCause.QUEUED
    suspend(False)
    wait_for(launcher, RunPhase.RUNNING)
    eventually(lambda: "ready" in launcher.log_tail(NAME))
    suspend(True)
    eventually(lambda: not fake_cluster.all("pods"))
    eventually(lambda: launcher.observe()[NAME].phase is RunPhase.PENDING)
    suspend(False)
    wait_for(launcher, RunPhase.RUNNING)


def test_a_slow_removal_is_not_seen_and_keeps_the_name(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    fake_cluster.held.add("pods")
    launcher = launching()
    launcher.launch(order())
    _pod_says(fake_cluster, fake_cluster.all("jobs")[NAME], {"phase": "Running"})
    wait_for(launcher, RunPhase.RUNNING)
    launcher.remove(NAME)
    assert launcher.observe() == {}
    launcher.remove(NAME)
    launcher.launch(order())  # the name is not free: nothing may run beside what is still there
    assert launcher.observe() == {}
    fake_cluster.expunge("pods", f"{NAME}-x")
    eventually(lambda: not fake_cluster.all("jobs"))
    launcher.launch(order())
    assert launcher.observe()[NAME].phase is RunPhase.PENDING


def test_a_node_that_is_gone_keeps_no_run_by_its_log(fake_cluster: FakeCluster, launching: Launching) -> None:
    launcher = launching()
    launcher.launch(order())
    _pod_says(fake_cluster, fake_cluster.all("jobs")[NAME], {"phase": "Unknown"})
    wait_for(launcher, RunPhase.RUNNING)
    fake_cluster.fail("GET", "pods", status=500, times=100)
    assert launcher.log_tail(NAME) == ""
    launcher.stop(NAME, grace_s=1)


# ---- E10, E11: deleted by hand, and nobody's ------------------------------------------------


def test_e10_a_job_deleted_by_hand_disappears_or_is_lost(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    fake_cluster.held.add("pods")
    launcher = launching()
    launcher.launch(order())
    _pod_says(fake_cluster, fake_cluster.all("jobs")[NAME], {"phase": "Running"})
    wait_for(launcher, RunPhase.RUNNING)
    fake_cluster.delete(JOBS_KEY, NAME, {"propagationPolicy": "Foreground"})
    assert wait_for(launcher, RunPhase.LOST).reason == "its Job was deleted"
    fake_cluster.expunge("pods", f"{NAME}-x")
    eventually(lambda: launcher.observe() == {})


def test_e10_a_finished_job_whose_time_to_live_is_over_keeps_its_outcome_to_the_end(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    launcher = launching()
    machinery("raise SystemExit(42)")
    launcher.launch(order())
    wait_for(launcher, RunPhase.EXITED)
    fake_cluster.delete(JOBS_KEY, NAME, {"propagationPolicy": "Foreground"})
    assert {run.exit_code for run in launcher.observe().values()} <= {42}
    eventually(lambda: launcher.observe() == {})


def test_foreign_jobs_are_not_touched(fake_cluster: FakeCluster, launching: Launching) -> None:
    launcher = launching()
    launcher.launch(order())
    mine = fake_cluster.all("jobs")[NAME]
    labels = mine["metadata"]["labels"]
    for name, other in {
        "harden-b1-1": {**labels, "app.kubernetes.io/instance": "another-release"},
        "harden-c1-1": {"app": "x"},
        "by-hand": labels,
    }.items():
        fake_cluster.create(JOBS_KEY, {**mine, "metadata": {"name": name, "labels": other}})
    fake_cluster.create(JOBS_KEY, {**mine, "metadata": {"name": "harden-d1-1", "labels": labels}})
    # The last one is nobody's, and shown.
    eventually(lambda: set(launcher.observe()) == {NAME, "harden-d1-1"})


# ---- E13: the API server --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["gone", "cut", "500", "429"])
def test_what_is_seen_converges(
    fake_cluster: FakeCluster,
    launching: Launching,
    machinery: Callable[[str], Machinery],
    fault: str,
) -> None:
    launcher = launching()
    machinery("import time; time.sleep(0.3)")
    launcher.launch(order())
    launcher.observe()
    match fault:
        case "gone":
            fake_cluster.compact()
        case "cut":
            fake_cluster.cut_watches()
        case status:
            fake_cluster.fail("WATCH", "jobs", status=int(status), retry_after="0")
            fake_cluster.fail("GET", "pods", status=int(status), times=2, retry_after="0")
            fake_cluster.cut_watches()
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 0
    assert len(fake_cluster.all("jobs")) == 1


def test_e13_after_a_partition_all_is_seen_and_nothing_was_done_twice(
    fake_cluster: FakeCluster, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_age_s": 1.0, "silence_s": 0.5, "longest_wait_s": 0.2}
    original = WatchedObjects.__init__

    def quicker(self: WatchedObjects, *arguments: Any, **given: Any) -> None:
        original(self, *arguments, **{**given, **options})

    monkeypatch.setattr(WatchedObjects, "__init__", quicker)
    launcher = launching()
    launcher.launch(order())
    assert set(launcher.observe()) == {NAME}
    shown_at = launcher.observed_at
    with fake_cluster.partition():
        with pytest.raises(LaunchError, match="cannot launch harden-b1-1"):
            launcher.launch(order("harden-b1-1"))
        eventually(lambda: _too_old(launcher))
        with pytest.raises(LaunchError):
            launcher.stop(NAME, grace_s=1)
        fake_cluster.expunge("jobs", NAME)
    eventually(lambda: not _too_old(launcher))
    eventually(lambda: launcher.observe() == {})
    assert launcher.observed_at > shown_at
    assert fake_cluster.all("jobs") == {}


def _too_old(launcher: KubernetesLauncher) -> bool:
    try:
        launcher.observe()
    except LaunchError as error:
        return "cannot observe: nothing was heard of" in str(error)
    return False


def test_a_cluster_that_is_not_there_is_an_error() -> None:
    from kubernetes.client import Configuration

    client = KubernetesClient(Configuration(host="http://127.0.0.1:9"), timeout_s=0.5)
    launcher = KubernetesLauncher(client, cluster_settings())
    try:
        with pytest.raises(LaunchError, match="cannot launch"):
            launcher.launch(order())
    finally:
        launcher.close()
        client.close()


# ---- E16: many ------------------------------------------------------------------------------


def test_looking_at_a_thousand_runs_asks_nobody_and_is_quick(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    launcher = launching()
    launcher.launch(order())
    mine = fake_cluster.all("jobs")[NAME]
    with fake_cluster.changed:
        for number in range(1000):
            job = {**mine, "metadata": {"name": f"harden-n{number}-1", "labels": mine["metadata"]["labels"]}}
            made = fake_cluster.create(JOBS_KEY, job)
            labels = {
                **mine["metadata"]["labels"],
                "batch.kubernetes.io/controller-uid": made["metadata"]["uid"],
            }
            status = {"phase": "Running"}
            metadata = {"name": f"p{number}", "labels": labels}
            fake_cluster.create(("v1", "pods", "temper-jobs"), {"metadata": metadata, "status": status})
    launcher.observe()

    def all_run() -> bool:
        return sum(run.phase is RunPhase.RUNNING for run in launcher.observe().values()) == 1000

    eventually(all_run, seconds=30)
    before = len(fake_cluster.requests)
    began = time.process_time()
    for _ in range(5):
        launcher.observe()
    assert (time.process_time() - began) / 5 < 0.5
    assert len(fake_cluster.requests) - before <= 4  # renewed watches at most


def test_nothing_is_remembered_of_runs_that_are_gone(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    launcher = launching()
    machinery(WAITS)
    names = [f"harden-a{number}-1" for number in range(5)]
    for name in names:
        launcher.launch(order(name, resources=Resources(gpus=1, nodes=2 if name == names[0] else 1)))
    eventually(lambda: all("ready" in launcher.log_tail(name) for name in names))
    for name in names:
        launcher.stop(name, grace_s=5)
    eventually(lambda: all(run.exit_code == 51 for run in launcher.observe().values()))
    assert launcher._endings._endings
    assert launcher._logs
    for name in names:
        launcher.remove(name)
    eventually(lambda: not fake_cluster.all("jobs"))
    eventually(lambda: launcher.observe() == {} and not launcher._removed)
    remembered = (launcher._met, launcher._podless_since, launcher._endings._endings, launcher._logs)
    assert not any(remembered)


def test_many_threads_are_one_launcher(fake_cluster: FakeCluster, launching: Launching) -> None:
    launcher = launching()
    names = [f"harden-a{number}-1" for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: launcher.launch(order(name)), names * 3))
        assert set(launcher.observe()) == set(names)
        list(threads.map(lambda name: launcher.stop(name, grace_s=1), names * 2))
        list(threads.map(launcher.log_tail, names))
        list(threads.map(launcher.remove, names * 2))
    assert launcher.observe() == {}
    assert fake_cluster.all("jobs") == {}


# ---- several nodes --------------------------------------------------------------------------


def test_nodes_succeed_with_the_first_and_fail_with_any(
    fake_cluster: FakeCluster, launching: Launching, machinery: Callable[[str], Machinery]
) -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(51))\n"
        "fails = os.environ['TEMPER_RENDEZVOUS'].startswith('harden-b1')\n"
        "rank = int(os.environ['TEMPER_NODE_RANK'])\n"
        "time.sleep(0.5)\n"
        "if fails and rank == 1: sys.exit(54)\n"
        "if not fails and rank == 0: sys.exit(0)\n"
        "while True: time.sleep(0.05)"
    )
    launcher = launching()
    machinery(code)
    two = Resources(gpus=1, nodes=2)
    launcher.launch(order(resources=two))
    launcher.launch(order("harden-b1-1", resources=two))
    for name in (NAME, "harden-b1-1"):
        service = fake_cluster.all("services")[name]
        assert (
            service["metadata"]["ownerReferences"][0]["uid"]
            == fake_cluster.all("jobs")[name]["metadata"]["uid"]
        )
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 0
    assert wait_for(launcher, RunPhase.EXITED, "harden-b1-1").exit_code == 54
    launcher.remove(NAME)
    eventually(lambda: set(fake_cluster.all("services")) == {"harden-b1-1"})


def test_a_crash_between_a_job_and_its_service_is_made_up_for(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    first = launching()
    fake_cluster.fail("POST", "services", status=500)
    with pytest.raises(LaunchError):
        first.launch(order(resources=Resources(gpus=1, nodes=2)))
    assert fake_cluster.all("services") == {}
    fake_cluster.fail("POST", "services", status=500)
    successor = launching()
    assert set(successor.observe()) == {NAME}
    assert fake_cluster.all("services") == {}
    successor.observe()
    assert set(fake_cluster.all("services")) == {NAME}
    before = requests(fake_cluster, "POST", "services")
    for _ in itertools.repeat(None, 3):
        successor.observe()
    assert requests(fake_cluster, "POST", "services") == before


def test_a_service_left_by_a_deleted_job_is_waited_for(
    fake_cluster: FakeCluster, launching: Launching
) -> None:
    leftover = {
        "metadata": {"name": NAME, "ownerReferences": [{"kind": "Job", "uid": "of-another"}]},
    }
    fake_cluster.create(("v1", "services", "temper-jobs"), leftover)
    launcher = launching()
    launcher.launch(order(resources=Resources(gpus=1, nodes=2)))
    fake_cluster.expunge("services", NAME)
    launcher.observe()
    uid = fake_cluster.all("jobs")[NAME]["metadata"]["uid"]
    assert fake_cluster.all("services")[NAME]["metadata"]["ownerReferences"][0]["uid"] == uid
