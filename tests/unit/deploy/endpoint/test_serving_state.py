"""From what a cluster says of an endpoint to what people are told."""

from typing import Any

import pytest

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.endpoint.serving_state import server_of

URL = "http://ep-a1.temper-endpoints.svc:8000"


def deployment(*, ready: int = 0, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "ep-a1", "generation": 2, "annotations": {"temper/replicas": "1-3"}},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "readyReplicas": ready, **status},
    }


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def container(name: str, restarts: int = 0, **state: Any) -> dict[str, Any]:
    last = state.pop("last", None)
    found: dict[str, Any] = {"name": name, "restartCount": restarts, "state": state}
    return found | ({"lastState": {"terminated": last}} if last else {})


def crash(**more: Any) -> dict[str, Any]:
    return {
        "exitCode": 1,
        "reason": "Error",
        "message": "loading\nValueError: no kernel\x1b[0m\n",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:40Z",
        **more,
    }


def look(found: dict[str, Any], *pods: dict[str, Any], unready_s: float = 1.0) -> Server:
    return server_of(found, pods, base_url=URL, timeout_s=600, unready_s=unready_s, current=True)


def test_one_ready_replica_is_enough() -> None:
    broken = pod(
        containerStatuses=[container("vllm", 9, waiting={"reason": "CrashLoopBackOff"}, last=crash())]
    )
    server = look(deployment(ready=1), broken)
    assert (server.phase, server.base_url, server.ready_replicas) == (ServePhase.READY, URL, 1)
    assert server.replicas == (1, 3)
    assert "no kernel" in (server.reason or ""), "that another one fails is told all the same"


def test_nothing_is_known_at_first() -> None:
    assert look(deployment()) == Server(
        name="ep-a1", phase=ServePhase.STARTING, ready_replicas=0, replicas=(1, 3)
    )


REFUSED = "fetching 1 files\nrefused: model.safetensors: recorded 7 bytes with SHA-256 0, found 6"
FINAL = [
    (
        pod(initContainerStatuses=[container("fetch", terminated=crash(exitCode=41, message=REFUSED))]),
        "the weights could not be fetched: refused: model.safetensors: recorded 7 bytes",
    ),
    (
        pod(
            initContainerStatuses=[
                container(
                    "fetch",
                    1,
                    waiting={"reason": "CrashLoopBackOff"},
                    last=crash(exitCode=44, message="refused: t5"),
                )
            ]
        ),
        "refused: t5",
    ),
    (
        pod(
            initContainerStatuses=[
                container("fetch", waiting={"reason": "InvalidImageName", "message": "bad//name"})
            ]
        ),
        "InvalidImageName: bad//name",
    ),
    (
        pod(containerStatuses=[container("vllm", 2, waiting={"reason": "CrashLoopBackOff"}, last=crash())]),
        "exit code 1, 2 times; the last lines of its log:\nloading\nValueError: no kernel\\u{1b}[0m",
    ),
    (
        pod(
            containerStatuses=[
                container(
                    "vllm",
                    2,
                    waiting={"reason": "CrashLoopBackOff"},
                    last=crash(reason="OOMKilled", exitCode=137),
                )
            ]
        ),
        "OOMKilled: the server needed more memory",
    ),
]
PASSING = [
    (
        pod(
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                }
            ]
        ),
        "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    ),
    (
        pod(
            initContainerStatuses=[
                container(
                    "fetch", waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image x"}
                )
            ]
        ),
        "ImagePullBackOff: Back-off pulling image x",
    ),
    (
        pod(
            initContainerStatuses=[
                container(
                    "fetch",
                    1,
                    waiting={"reason": "CrashLoopBackOff"},
                    last=crash(exitCode=52, message="refused: the store does not answer"),
                )
            ]
        ),
        "refused: the store does not answer",
    ),
    (
        pod(
            containerStatuses=[
                container(
                    "vllm",
                    7,
                    waiting={"reason": "CrashLoopBackOff"},
                    last=crash(finishedAt="2026-01-01T05:00:00Z"),
                )
            ]
        ),
        "exit code 1",
    ),
    (
        pod(phase="Failed", reason="Evicted", message="low on ephemeral-storage"),
        "Evicted: low on ephemeral-storage",
    ),
    (pod(containerStatuses=[container("vllm", waiting={"reason": "PodInitializing"})]), None),
    (pod(containerStatuses=[container("vllm", 3, running={}, last=crash())]), None),
]


@pytest.mark.parametrize(("found", "said"), FINAL)
def test_what_waiting_cannot_help_fails_at_once(found: dict[str, Any], said: str) -> None:
    server = look(deployment(), found)
    assert server.phase is ServePhase.FAILED
    assert said in (server.reason or "")


@pytest.mark.parametrize(("found", "said"), PASSING)
def test_what_may_pass_is_told_until_the_time_is_over(found: dict[str, Any], said: str | None) -> None:
    server = look(deployment(), found)
    assert server.phase is ServePhase.STARTING
    assert (said in (server.reason or "")) if said else server.reason is None
    late = look(deployment(), found, unready_s=601)
    assert late.phase is ServePhase.FAILED
    assert late.reason is not None
    assert late.reason.startswith("not ready after 600 s: ")
    assert (said or "it was still loading") in late.reason


def test_the_controllers_own_deadline_counts_but_not_an_old_one() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    assert look(deployment(conditions=[condition])).phase is ServePhase.FAILED
    outdated = deployment(conditions=[condition], observedGeneration=1)
    assert look(outdated).phase is ServePhase.STARTING


def test_a_quota_is_told_in_its_own_words() -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": 'pods "x" is forbidden: exceeded quota: gpus',
    }
    assert "exceeded quota: gpus" in (look(deployment(conditions=[condition])).reason or "")


def test_a_pod_that_ends_says_nothing_any_more() -> None:
    gone = FINAL[0][0] | {"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert look(deployment(), gone).reason is None


def test_one_that_is_removed_is_neither_ready_nor_failed() -> None:
    going = deployment(ready=1)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert look(going).phase is ServePhase.STARTING
