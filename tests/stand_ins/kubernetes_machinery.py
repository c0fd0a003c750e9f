"""A Job controller and a kubelet for the fake API server: pods are processes of this machine.

Only what launchers rely on, worded as Kubernetes 1.36 words it: podFailurePolicy, successPolicy, completion indexes,
podReplacementPolicy Failed, activeDeadlineSeconds, suspend, graceful deletion, exit codes and logs.
"""

import contextlib
import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_api import Object
from tests.stand_ins.stepping import Stepping

INDEX = "batch.kubernetes.io/job-completion-index"


class Machinery(Stepping):
    """Acts on the objects of a fake cluster in a thread of its own.

    Args:
        cluster: whose objects.
        command: argv that stands for the image and its command; the container's args follow.
        root: of logs and working directories.
        without: variables of the container that its process does not get.
    """

    def __init__(
        self, cluster: FakeCluster, command: Sequence[str], root: Path, *, without: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.cluster = cluster
        self.unschedulable: str | None = None
        """The scheduler's words, while it finds no node."""
        cluster.held.add("pods")
        self._command = list(command)
        self._root = root
        self._without = frozenset(without)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._verdicts: dict[str, tuple[str, str, str]] = {}
        self._told: dict[str, float] = {}

    def _finish(self) -> None:
        for process in self._processes.values():
            _kill(process)

    def disrupt(self, pod: str) -> None:
        """Take a pod away as a drain does."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        self.cluster.update("pods", pod, lambda found: _add_condition(found, condition))
        namespace = self.cluster.all("pods")[pod]["metadata"]["namespace"]
        self.cluster.delete(("v1", "pods", namespace), pod, {})

    def _step(self) -> None:
        with self.cluster.changed:
            for job in self.cluster.all("jobs").values():
                self._control(job)
            for name, pod in self.cluster.all("pods").items():
                self._keep(name, pod)

    # ---- the Job controller -----------------------------------------------------------------

    def _control(self, job: Object) -> None:
        name, status = job["metadata"]["name"], job["status"]
        pods = {
            pod: found
            for pod, found in self.cluster.all("pods").items()
            if found["metadata"].get("labels", {}).get("batch.kubernetes.io/controller-uid")
            == job["metadata"]["uid"]
        }
        if _holds(job, "Complete") or _holds(job, "Failed") or job["metadata"].get("deletionTimestamp"):
            self._let_go(pods)
            return
        active = {pod: found for pod, found in pods.items() if not _ended(found)}
        if job["spec"].get("suspend"):
            self._delete(active)
            self._let_go(pods)
            return
        if "startTime" not in status:
            started = self.cluster.timestamp()
            self.cluster.update("jobs", name, lambda found: found["status"].update(startTime=started))
            return
        # As FailureTarget and SuccessCriteriaMet do, the first verdict stands while pods are taken down.
        uid = job["metadata"]["uid"]
        verdict = self._verdicts.get(uid) or self._verdict(job, pods)
        if verdict is not None:
            self._verdicts[uid] = verdict
        if verdict is None:
            self._let_go(pods)
            self._replace(job, pods)
        elif active:
            self._delete(active)
        else:
            kind, reason, message = verdict
            condition = {"type": kind, "status": "True", "reason": reason, "message": message}
            self.cluster.update("jobs", name, lambda found: _add_condition(found, condition))
            self._let_go(pods)

    def _verdict(self, job: Object, pods: dict[str, Object]) -> tuple[str, str, str] | None:
        spec = job["spec"]
        started = datetime.fromisoformat(job["status"]["startTime"]).timestamp()
        for pod, found in pods.items():
            if found["status"].get("phase") != "Failed":
                continue
            action, rule, code = _policy(spec["podFailurePolicy"]["rules"], found)
            where = f"{found['metadata']['namespace']}/{pod}"
            if action == "FailJob":
                said = f"Container training for pod {where} failed with exit code {code} matching FailJob rule at index {rule}"
                return "Failed", "PodFailurePolicy", said
            if action == "Count" and spec["backoffLimit"] == 0:
                return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        done = {_index(found) for found in pods.values() if found["status"].get("phase") == "Succeeded"}
        if len(done) >= spec["completions"]:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        if "successPolicy" in spec and 0 in done:
            return "Complete", "SuccessPolicy", "Matched rules at index 0"
        if self.cluster.now() - started > spec["activeDeadlineSeconds"]:
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _replace(self, job: Object, pods: dict[str, Object]) -> None:
        # podReplacementPolicy Failed: one that is being deleted but has not ended keeps its place.
        there = {
            _index(found)
            for found in pods.values()
            if not _ended(found) or found["status"].get("phase") == "Succeeded"
        }
        for index in range(job["spec"]["parallelism"]):
            if index not in there:
                self.make_pod(job, index)

    def make_pod(self, job: Object, index: int = 0) -> Object:
        """A pod from a Job's template; also called by tests: "the same program may be started twice"."""
        template = copy.deepcopy(job["spec"]["template"])
        metadata = template["metadata"]
        indexed = job["spec"].get("completionMode") == "Indexed"
        stem = job["metadata"]["name"] + (f"-{index}" if indexed else "")
        metadata["generateName"] = f"{stem}-"
        metadata["labels"] |= {
            "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
        }
        if indexed:
            metadata["annotations"][INDEX] = str(index)
        metadata["ownerReferences"] = [{"kind": "Job", "uid": job["metadata"]["uid"]}]
        pod = {**template, "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending"}}
        return self.cluster.create(("v1", "pods", job["metadata"]["namespace"]), pod)

    def _delete(self, active: dict[str, Object]) -> None:
        for pod, found in active.items():
            if "deletionTimestamp" not in found["metadata"]:
                self.cluster.delete(("v1", "pods", found["metadata"]["namespace"]), pod, {})

    def _let_go(self, pods: dict[str, Object]) -> None:
        """Pods that were deleted and have ended are accounted for: their finalizer goes, and they with it."""
        for pod, found in pods.items():
            if "deletionTimestamp" in found["metadata"] and _ended(found):
                self.cluster.expunge("pods", pod)

    # ---- the kubelet ------------------------------------------------------------------------

    def _keep(self, name: str, pod: Object) -> None:
        if _ended(pod):
            return
        process = self._processes.get(name)
        deleted = pod["metadata"].get("deletionTimestamp") is not None
        if process is None:
            if deleted:
                self.cluster.update("pods", name, lambda found: found["status"].update(phase="Failed"))
            elif self.unschedulable is not None:
                self._refuse(name, pod, self.unschedulable)
            else:
                self._start(name, pod)
            return
        code = process.poll()
        self.cluster.logs[name] = (self._root / f"{name}.log").read_bytes()
        if code is not None:
            self._end(name, 128 - code if code < 0 else code)
        elif deleted:
            self._end_gracefully(name, process, pod["metadata"]["deletionGracePeriodSeconds"])

    def _refuse(self, name: str, pod: Object, words: str) -> None:
        if not pod["status"].get("conditions"):
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": words,
            }
            self.cluster.update("pods", name, lambda found: _add_condition(found, condition))

    def _start(self, name: str, pod: Object) -> None:
        container = pod["spec"]["containers"][0]
        environment = {
            each["name"]: each.get("value") or _field(pod, each["valueFrom"]["fieldRef"]["fieldPath"])
            for each in container["env"]
            if each["name"] not in self._without
        }
        directory = self._root / name
        directory.mkdir()
        environment |= dict.fromkeys(("TEMPER_SCRATCH", "TMPDIR", "HOME"), str(directory))
        with (self._root / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [*self._command, *container["args"]],
                env={"PATH": os.defpath, **environment},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running = {"name": container["name"], "state": {"running": {"startedAt": self.cluster.timestamp()}}}
        status = {"phase": "Running", "containerStatuses": [running]}
        self.cluster.update("pods", name, lambda found: found["status"].update(status))

    def _end_gracefully(self, name: str, process: subprocess.Popen[bytes], grace_s: float) -> None:
        if name not in self._told:
            self._told[name] = time.monotonic()
            process.send_signal(signal.SIGTERM)
        elif self._told[name] + grace_s <= time.monotonic():
            _kill(process)

    def _end(self, name: str, code: int) -> None:
        terminated = {"exitCode": code, "reason": "Error", "finishedAt": self.cluster.timestamp()}
        ended = {"name": "training", "state": {"terminated": terminated}}
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [ended]}
        self.cluster.update("pods", name, lambda found: found["status"].update(status))


def python(code: str) -> list[str]:
    """argv of a small program."""
    return [sys.executable, "-S", "-c", code]


def _policy(rules: list[Object], pod: Object) -> tuple[str, int, int | None]:
    code = _exit_code(pod)
    for number, rule in enumerate(rules):
        codes = rule.get("onExitCodes")
        if codes is not None and code is not None:
            if (code in codes["values"]) == (codes["operator"] == "In"):
                return rule["action"], number, code
        elif "onPodConditions" in rule and _holds(pod, "DisruptionTarget"):
            return rule["action"], number, code
    return "Count", -1, code


def _exit_code(pod: Object) -> int | None:
    for each in pod["status"].get("containerStatuses", []):
        code = each["state"].get("terminated", {}).get("exitCode")
        return int(code) if code is not None else None
    return None


def _index(pod: Object) -> int:
    return int(pod["metadata"].get("annotations", {}).get(INDEX, 0))


def _ended(pod: Object) -> bool:
    return pod["status"].get("phase") in {"Succeeded", "Failed"}


def _field(pod: Object, path: str) -> str:
    if path.startswith("metadata.annotations["):
        return str(pod["metadata"]["annotations"][path.split("'")[1]])
    return str(pod["metadata"][path.removeprefix("metadata.")])


def _holds(found: Object, kind: str) -> bool:
    conditions = found["status"].get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _add_condition(found: Object, condition: dict[str, Any]) -> None:
    found["status"].setdefault("conditions", []).append(condition)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
