"""What Jobs and Pods say about an attempt, in the words that Kubernetes 1.36 uses."""

from typing import Any

import pytest

from deploy.kubernetes.client import Object
from deploy.kubernetes.kept import without_spec
from deploy.launch.job_state import DEADLINE
from deploy.launch.job_state import STOPPED
from deploy.launch.job_state import Attempt
from deploy.launch.job_state import run_of
from deploy.launch.pod_state import LONGEST_REASON
from deploy.launch.pod_state import ending_of
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase

NAME = "harden-a-1"
CREATED = "2026-11-23T10:00:00Z"
NOW = 1_795_428_000.0 + 60
TIMEOUT_S = 3600
OVERCOMMITTED = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def job(*conditions: tuple[str, str, str], nodes: int = 1, suspend: bool = False, **metadata: Any) -> Object:
    return {
        "metadata": {"name": NAME, "uid": "u", "annotations": {DEADLINE: "60"}, **metadata},
        "spec": {"parallelism": nodes, "suspend": suspend},
        "status": {
            "conditions": [
                {"type": kind, "status": "True", "reason": reason, "message": message}
                for kind, reason, message in conditions
            ]
        },
    }


def stopped(*conditions: tuple[str, str, str], **given: Any) -> Object:
    return job(*conditions, annotations={STOPPED: "true"}, **given)


FAILED = ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def pod(
    phase: str = "Pending",
    *,
    state: Object | None = None,
    conditions: tuple[Object, ...] = (),
    index: int = 0,
    name: str = "",
    deleted: bool = False,
    **status: Any,
) -> Object:
    statuses = [] if state is None else [{"name": "training", "state": state}]
    metadata: Object = {
        "name": name or f"{NAME}-{index}-x",
        "creationTimestamp": CREATED,
        "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
    }
    if deleted:
        metadata["deletionTimestamp"] = CREATED
    return {
        "metadata": metadata,
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": statuses, **status},
    }


def ended(code: int, reason: str = "Error", at: str = CREATED, **given: Any) -> Object:
    terminated = {"exitCode": code, "reason": reason, "finishedAt": at}
    return pod("Failed" if code else "Succeeded", state={"terminated": terminated}, **given)


def condition(kind: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


DRAINED = condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
RUNNING = {"running": {"startedAt": CREATED}}


def run(found: Object, *pods: Object, now: float = NOW, **given: Any) -> Run:
    endings = tuple(ending for ending in map(ending_of, pods) if ending is not None)
    attempt = Attempt(name=NAME, job=found, pods=pods, endings=endings, **given)
    return run_of(attempt, now=now, pending_timeout_s=TIMEOUT_S)


def said(seen: Run) -> tuple[RunPhase, int | None, str | None, RunCause | None]:
    return seen.phase, seen.exit_code, seen.reason, seen.cause


# ---- waiting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "reason", "cause"),
    [
        (pod(), "waiting for the scheduler", None),
        (
            pod(conditions=(condition("PodScheduled", "False", "Unschedulable", OVERCOMMITTED),)),
            f"Unschedulable: {OVERCOMMITTED}",
            RunCause.UNSCHEDULABLE,
        ),
        (
            pod(conditions=(condition("PodScheduled", "True", ""),), state=waiting("ContainerCreating")),
            "its container is being prepared",
            None,
        ),
        (
            pod(state=waiting("ImagePullBackOff", 'Back-off pulling image "x"')),
            'ImagePullBackOff: Back-off pulling image "x"',
            RunCause.IMAGE_PULL_FAILED,
        ),
        (
            pod(state=waiting("ErrImageNeverPull", "not present")),
            "ErrImageNeverPull: not present",
            RunCause.IMAGE_PULL_FAILED,
        ),
        (
            pod(state=waiting("CreateContainerConfigError", 'configmap "broker-ca" not found')),
            'CreateContainerConfigError: configmap "broker-ca" not found',
            None,
        ),
    ],
    ids=["new", "unschedulable", "preparing", "image", "never-pull", "config"],
)
def test_a_pod_that_waits_says_why(found: Object, reason: str, cause: RunCause | None) -> None:
    assert said(run(job(), found)) == (RunPhase.PENDING, None, reason, cause)


@pytest.mark.parametrize("cause", [RunCause.UNSCHEDULABLE, RunCause.IMAGE_PULL_FAILED])
def test_e7_waiting_too_long_is_the_end(cause: RunCause) -> None:
    found = {
        RunCause.UNSCHEDULABLE: pod(
            conditions=(condition("PodScheduled", "False", "Unschedulable", OVERCOMMITTED),)
        ),
        RunCause.IMAGE_PULL_FAILED: pod(state=waiting("ImagePullBackOff", "no such image")),
    }[cause]
    assert run(job(), found, now=NOW + TIMEOUT_S - 61).phase is RunPhase.PENDING
    seen = run(job(), found, now=NOW + TIMEOUT_S)
    assert (seen.phase, seen.cause) == (RunPhase.LOST, cause)
    assert seen.reason is not None
    assert seen.reason.startswith("it could not start within 3600 s: ")
    assert (OVERCOMMITTED in seen.reason) == (cause is RunCause.UNSCHEDULABLE)


def test_waiting_in_a_queue_never_ends_it() -> None:
    found = job(suspend=True)
    seen = run(found, now=NOW + 100 * TIMEOUT_S, queue_reason="number 2 in queue training: no quota")
    assert said(seen) == (RunPhase.PENDING, None, "number 2 in queue training: no quota", RunCause.QUEUED)
    assert run(found).reason == "suspended: waiting to be admitted by its queue"


def test_a_job_without_pods_waits_for_a_while() -> None:
    assert run(job(), podless_since=NOW - 10).phase is RunPhase.PENDING
    seen = run(job(), podless_since=NOW - TIMEOUT_S - 1)
    assert seen.phase is RunPhase.LOST
    assert "its pod has not been created" in (seen.reason or "")


def test_a_long_reason_is_cut_and_is_one_line() -> None:
    found = pod(conditions=(condition("PodScheduled", "False", "Unschedulable", "a\nb " * 1000),))
    reason = run(job(), found).reason or ""
    assert len(reason) == LONGEST_REASON
    assert reason.endswith("…")
    assert "\n" not in reason


# ---- running --------------------------------------------------------------------------------


def test_running() -> None:
    assert said(run(job(), pod("Running", state=RUNNING))) == (RunPhase.RUNNING, None, None, None)


@pytest.mark.parametrize(
    "found",
    [
        pod("Unknown", state=RUNNING),
        pod("Running", state=RUNNING, conditions=(condition("Ready", "False", "NodeNotReady"),)),
        pod("Running", state=RUNNING, reason="NodeLost"),
    ],
)
def test_a_node_that_is_not_heard_of_is_named(found: Object) -> None:
    assert said(run(job(), found)) == (RunPhase.RUNNING, None, "its node does not answer", None)


def test_a_pod_that_ended_leaves_the_last_word_to_the_job() -> None:
    """Its controller may be about to replace it; and a run that is over must never be running again."""
    assert run(job(), ended(52)).phase is RunPhase.RUNNING
    assert run(job(FAILED), ended(52)).exit_code == 52


def test_a_job_that_failed_waits_for_the_news_of_its_pod() -> None:
    assert run(job(FAILED), pod("Running", state=RUNNING)).phase is RunPhase.RUNNING


def test_a_pod_started_twice_is_one_run() -> None:
    twice = (pod("Running", state=RUNNING, name="x"), pod("Pending", name="y"))
    assert run(job(), *twice).phase is RunPhase.RUNNING
    seen = run(
        job(("Complete", "CompletionsReached", "")), ended(0, "Completed", name="x"), ended(3, name="y")
    )
    assert said(seen) == (RunPhase.EXITED, 0, None, None)


def test_e4_a_drained_pod_is_replaced() -> None:
    gone = ended(51, conditions=(DRAINED,))
    seen = run(job(), gone)
    assert (seen.phase, seen.reason) == (
        RunPhase.PENDING,
        "its pod was taken away by the cluster, and another one follows",
    )
    assert run(job(), gone, pod("Running", state=RUNNING, name="y")).phase is RunPhase.RUNNING
    late = ended(42, at="2026-11-23T11:00:00Z", name="y")
    assert run(job(FAILED), gone, late).exit_code == 42


# ---- the end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ended(42), (RunPhase.EXITED, 42, None, None)),
        (ended(53), (RunPhase.EXITED, 53, None, None)),
        (ended(139), (RunPhase.EXITED, 139, "killed by SIGSEGV", None)),
        (
            ended(137, "OOMKilled"),
            (
                RunPhase.EXITED,
                137,
                "OOMKilled: it needed more memory than its limit",
                RunCause.OUT_OF_MEMORY,
            ),
        ),
        (
            pod(
                "Failed",
                reason="Evicted",
                message='Usage of EmptyDir volume "scratch" exceeds the limit "1Gi".',
            ),
            (
                RunPhase.LOST,
                None,
                'Evicted: Usage of EmptyDir volume "scratch" exceeds the limit "1Gi".',
                None,
            ),
        ),
        (
            pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"),
            (RunPhase.LOST, None, "UnexpectedAdmissionError: Allocate failed", None),
        ),
        (
            pod("Failed", reason="NodeShutdown", message="Pod was terminated in response to node shutdown"),
            (
                RunPhase.LOST,
                None,
                "NodeShutdown: Pod was terminated in response to node shutdown",
                RunCause.EVICTED,
            ),
        ),
        (
            ended(137, "ContainerStatusUnknown"),
            (RunPhase.LOST, None, "its pod ended without an exit code", None),
        ),
        (
            ended(128, "StartError", conditions=()),
            (RunPhase.EXITED, 128, "StartError", None),
        ),
    ],
    ids=["user", "platform", "signal", "oom", "evicted", "admission", "shutdown", "unknown", "start"],
)
def test_e7_how_it_ended(found: Object, expected: tuple[Any, ...]) -> None:
    assert said(run(job(FAILED), found)) == expected


def test_complete() -> None:
    assert said(run(job(("Complete", "CompletionsReached", "")))) == (RunPhase.EXITED, 0, None, None)


def test_the_deadline() -> None:
    over = job(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"))
    expected = (RunPhase.EXITED, 143, "deadline of 60 s exceeded", RunCause.DEADLINE)
    assert said(run(over)) == expected
    assert run(over, ended(51)).exit_code == 51


def test_stopped() -> None:
    over = stopped(("Failed", "DeadlineExceeded", ""))
    assert said(run(over)) == (RunPhase.EXITED, 143, "stopped", None)
    assert said(run(over, ended(51))) == (RunPhase.EXITED, 51, "stopped", None)
    assert run(stopped(("Complete", "", ""))).exit_code == 0
    going = run(stopped(), pod("Running", state=RUNNING, deleted=True))
    assert (going.phase, going.reason) == (RunPhase.RUNNING, "it is being stopped")


def test_stopped_in_its_queue() -> None:
    expected = (RunPhase.EXITED, 143, "stopped before it started", None)
    assert said(run(stopped(suspend=True))) == expected
    going = run(stopped(suspend=True), pod("Running", state=RUNNING, deleted=True))
    assert going.phase is RunPhase.PENDING


def test_a_job_deleted_by_hand() -> None:
    deleted = job(deletionTimestamp=CREATED)
    assert said(run(deleted, pod("Running", state=RUNNING))) == (
        RunPhase.LOST,
        None,
        "its Job was deleted",
        None,
    )
    late = job(FAILED, deletionTimestamp=CREATED)  # its time to live is over
    assert run(late, ended(42)).exit_code == 42


def test_a_dead_node_holds_nobody_for_ever() -> None:
    """Its pod never ends, and its Job waits for that."""
    held = pod("Running", state=RUNNING, deleted=True, conditions=(DRAINED,))
    assert run(job(), held, now=NOW + 200).phase is RunPhase.RUNNING
    lost = (RunPhase.LOST, None, "its node does not answer", RunCause.EVICTED)
    assert said(run(job(), held, now=NOW + 300)) == lost
    stuck = run(stopped(), held, now=NOW + 300)
    assert said(stuck) == (RunPhase.EXITED, 143, "stopped; its node does not answer", None)
    assert run(stopped(suspend=True), held, now=NOW + 300).phase is RunPhase.EXITED
    other = pod("Running", state=RUNNING, name="y")
    assert run(job(), held, other, now=NOW + 300).phase is RunPhase.RUNNING
    node = pod("Running", state=RUNNING, index=1)
    assert said(run(job(nodes=2), held, node, now=NOW + 300)) == lost


def test_pods_that_are_gone_leave_the_jobs_own_words() -> None:
    worded = "Container training for pod jobs/harden-a-1-x failed with exit code 42 matching FailJob rule at index 0"
    assert run(job(("Failed", "PodFailurePolicy", worded))).exit_code == 42
    seen = run(job(FAILED))
    assert seen.phase is RunPhase.LOST
    assert seen.reason == f"its pods are gone ({FAILED[1]}: {FAILED[2]})"


# ---- several nodes --------------------------------------------------------------------------


def test_nodes_run_when_all_do() -> None:
    first = pod("Running", state=RUNNING, index=0)
    second = pod(conditions=(condition("PodScheduled", "False", "Unschedulable", OVERCOMMITTED),), index=1)
    seen = run(job(nodes=2), first, second)
    assert (seen.phase, seen.cause) == (RunPhase.PENDING, RunCause.UNSCHEDULABLE)
    assert seen.reason == f"1 of 2 pods wait: Unschedulable: {OVERCOMMITTED}"
    assert run(job(nodes=2), first, second, now=NOW + TIMEOUT_S).phase is RunPhase.LOST
    assert run(job(nodes=2), first, pod("Running", state=RUNNING, index=1)).phase is RunPhase.RUNNING


def test_the_first_to_fail_explains_the_others() -> None:
    first = ended(54, at="2026-11-23T10:00:01Z", index=1)
    others = (ended(50, at="2026-11-23T10:00:05Z", index=0), ended(0, index=2))
    assert run(job(FAILED, nodes=3), others[0], first, others[1]).exit_code == 54


def test_those_that_were_taken_down_explain_nothing() -> None:
    """Whole seconds do not tell who was first."""
    assert run(job(FAILED, nodes=2), ended(51, index=0, deleted=True), ended(54, index=1)).exit_code == 54


def test_a_verdict_about_the_input_outweighs_what_others_said() -> None:
    alone = ended(50, at="2026-11-23T10:00:01Z", index=1)
    verdict = ended(45, at="2026-11-23T10:00:09Z", index=0)
    assert run(job(FAILED, nodes=2), alone, verdict).exit_code == 45


def test_a_node_that_was_drained_explains_the_others() -> None:
    broken = ended(50, at="2026-11-23T09:59:00Z", index=0)
    drained = ended(51, index=1, conditions=(DRAINED,))
    expected = (RunPhase.EXITED, 51, "EvictionByEvictionAPI: Eviction API: evicting", RunCause.EVICTED)
    assert said(run(job(FAILED, nodes=2), broken, drained)) == expected


def test_little_of_a_pod_is_kept() -> None:
    whole = {**ended(42), "spec": {"containers": ["big"]}}
    whole["metadata"] |= {"managedFields": ["big"], "ownerReferences": []}
    kept = without_spec(whole)
    assert "spec" not in kept
    assert "managedFields" not in kept["metadata"]
    assert ending_of(kept) == ending_of(whole)
