"""Why a Job waits in a queue, and where, from what Kueue writes into Workloads."""

import time
from typing import Any

from deploy.kubernetes.client import Object
from deploy.launch.kueue import KueueQueues
from deploy.launch.kueue import why_they_wait
from tests.stand_ins.kubernetes_api import FakeCluster

NO_QUOTA = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor h100"
)


def workload(job: str, second: int, *conditions: tuple[str, str, str], **spec: Any) -> Object:
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": f"job-{job}",
            "uid": job,
            "creationTimestamp": f"2026-11-23T10:00:{second:02d}Z",
            "ownerReferences": [{"kind": "Job", "uid": job}],
        },
        "spec": {"queueName": "training", "priority": 0, "podSets": ["big"], **spec},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "message": message} for kind, status, message in conditions
            ]
        },
    }


def test_place_and_reason() -> None:
    waiting = ("QuotaReserved", "False", NO_QUOTA)
    admitted = (("QuotaReserved", "True", ""), ("Admitted", "True", ""))
    reasons = why_they_wait(
        [
            workload("third", 9, waiting),
            workload("second", 5, waiting),
            workload("first", 7, waiting, priority=10),
            workload("running", 1, *admitted),
            workload("done", 0, *admitted, ("Finished", "True", "")),
            workload("elsewhere", 8, queueName="urgent"),
        ]
    )
    assert reasons == {
        "first": f"number 1 in queue training: {NO_QUOTA}",
        "second": f"number 2 in queue training: {NO_QUOTA}",
        "third": f"number 3 in queue training: {NO_QUOTA}",
        "elsewhere": "number 1 in queue urgent",
    }


def test_a_preempted_and_a_deactivated_one_say_so() -> None:
    preempted = workload("a", 1, ("Evicted", "True", "Preempted to accommodate a workload"))
    inactive = workload("b", 2, active=False)
    reasons = why_they_wait([preempted, inactive])
    assert reasons["a"].endswith(": Preempted to accommodate a workload")
    assert reasons["b"].endswith(": deactivated by an administrator or by Kueue")


def test_without_kueue_nothing_is_said(fake_cluster: FakeCluster) -> None:
    fake_cluster.absent.add("workloads")
    client = fake_cluster.client()
    queues = KueueQueues(client, "temper-jobs")
    assert queues.reasons() == {}
    queues.close()
    client.close()


def test_workloads_are_watched(fake_cluster: FakeCluster) -> None:
    client = fake_cluster.client()
    queues = KueueQueues(client, "temper-jobs")
    made = fake_cluster.create(("kueue.x-k8s.io/v1beta2", "workloads", "temper-jobs"), workload("a", 1))
    owner = made["metadata"]["ownerReferences"][0]["uid"]
    limit = time.monotonic() + 10
    while queues.reasons() != {owner: "number 1 in queue training"}:
        assert time.monotonic() < limit
        time.sleep(0.02)
    kept = queues._workloads.snapshot()["job-a"]
    assert "podSets" not in kept["spec"]
    queues.close()
    client.close()
