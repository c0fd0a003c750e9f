"""A Deployment controller, a kubelet and a Service for the fake API server: containers are processes of this machine.

Only what endpoints rely on, worded as Kubernetes 1.36 words it: rolling updates with surge, an init container and its
termination message, exec probes, preStop hooks, restarts with CrashLoopBackOff, and a Service that spreads
connections over the pods that are ready and leads to one that has just been told to end for a little longer.
"""

import copy
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from service_process import free_port

from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_api import Key
from tests.stand_ins.kubernetes_api import Object
from tests.stand_ins.stepping import Stepping

SETTLE_S = 0.3
"""Of the drain; in a cluster some seconds."""
LAG_S = 0.15
"""For so long a Service still leads to a pod that is being ended."""
APPS = "apps/v1"


class ServingMachinery(Stepping):
    """Acts on the Deployments of a fake cluster in a thread of its own.

    Args:
        cluster: whose objects.
        server: argv that stands for ``vllm serve``; the container's args follow.
        root: of the pods' volumes and logs.
    """

    def __init__(self, cluster: FakeCluster, server: Sequence[str], root: Path) -> None:
        super().__init__()
        self.cluster = cluster
        self.unschedulable: str | None = None
        """The scheduler's words, while it finds no node."""
        self.image_pull: str | None = None
        """The kubelet's words, while an image does not come."""
        self.oom = False
        """The server is killed for its memory as soon as it starts."""
        self.pods: dict[str, _Pod] = {}
        self._server = list(server)
        self._root = root
        self._balancers: dict[str, _Balancer] = {}

    def _finish(self) -> None:
        for pod in self.pods.values():
            pod.kill()
        for balancer in self._balancers.values():
            balancer.close()

    def port_of(self, service: str) -> int:
        """Of this machine, where a Service listens from its first mention on."""
        if service not in self._balancers:
            self._balancers[service] = _Balancer(lambda: self._ready(service))
        return self._balancers[service].port

    def _ready(self, name: str) -> list[int]:
        if name not in self.cluster.all("services"):
            return []
        now = time.monotonic()
        return [
            pod.port
            for pod in list(self.pods.values())
            if pod.deployment == name
            and pod.ready
            and (pod.ends_since is None or now - pod.ends_since < LAG_S)
        ]

    def _step(self) -> None:
        deployments = self.cluster.all("deployments")
        for name, found in deployments.items():
            self._control(name, found)
        # By uid: one that was deleted and made anew between two looks is another one.
        owners = {found["metadata"]["uid"] for found in deployments.values()}
        for pod in list(self.pods.values()):
            if pod.owner not in owners:
                pod.end()
            pod.step()
            self._publish(pod)

    # ---- the Deployment's controller ----------------------------------------------------------

    def _control(self, name: str, found: Object) -> None:
        spec = found["spec"]
        version = sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:9]
        uid = found["metadata"]["uid"]
        mine = [pod for pod in self.pods.values() if pod.owner == uid and pod.ends_since is None]
        new = [pod for pod in mine if pod.version == version]
        old = [pod for pod in mine if pod.version != version]
        wanted, surge = spec["replicas"], spec["strategy"]["rollingUpdate"]["maxSurge"]
        if len(new) < wanted and len(mine) < wanted + surge:
            self._make_pod(name, version, found)
        elif len(new) > wanted:
            min(new, key=lambda pod: pod.ready).end()
        elif (old and sum(pod.ready for pod in mine) > wanted) or (old and not old[0].ready):
            old[0].end()
        ready = sum(pod.ready for pod in mine)
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(mine),
            "readyReplicas": ready,
        }
        if found["status"] != status:
            self._update("deployments", name, {"status": status})

    def _make_pod(self, name: str, version: str, deployment: Object) -> None:
        pod_name = f"{name}-{version}-{os.urandom(3).hex()[:5]}"
        namespace = deployment["metadata"]["namespace"]
        template = copy.deepcopy(deployment["spec"]["template"])
        made = {"metadata": {"name": pod_name, "labels": template["metadata"]["labels"]}}
        key: Key = ("v1", "pods", namespace)
        self.cluster.create(key, {**made, "spec": template["spec"]})
        owner = deployment["metadata"]["uid"]
        pod = _Pod(
            self, pod_name, (name, owner), version, template["spec"], self._root / pod_name, self._server
        )
        self.pods[pod_name] = pod

    def _publish(self, pod: "_Pod") -> None:
        if pod.gone:
            del self.pods[pod.name]
            self.cluster.expunge("pods", pod.name)
            return
        status = pod.status()
        if pod.published != status:
            pod.published = status
            change: Object = {"status": status}
            if pod.ends_since is not None:
                change["metadata"] = {"deletionTimestamp": self.cluster.timestamp()}
            self._update("pods", pod.name, change)

    def _update(self, plural: str, name: str, change: Object) -> None:
        def apply(found: Object) -> None:
            found["status"] = change["status"]
            found["metadata"] |= change.get("metadata", {})

        try:
            self.cluster.update(plural, name, apply)
        except StopIteration:
            return  # it has gone in between


class _Pod:
    """One pod and its processes: the kubelet's part."""

    def __init__(
        self,
        machinery: ServingMachinery,
        name: str,
        owner: tuple[str, str],
        version: str,
        spec: Object,
        root: Path,
        server: list[str],
    ) -> None:
        self.name, self.version, self.port = name, version, free_port()
        self.deployment, self.owner = owner
        self.ready = False
        self.gone = False
        self.ends_since: float | None = None
        self.published: Object | None = None
        self.restarts = 0
        self._machinery, self._spec, self._root, self._command = machinery, spec, root, server
        self._fetched = False
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: subprocess.Popen[bytes] | None = None
        self._hook: subprocess.Popen[bytes] | None = None
        self._started = False
        self._init_state: Object = {"waiting": {"reason": "PodInitializing"}}
        self._state: Object = {"waiting": {"reason": "PodInitializing"}}
        self._last: Object | None = None
        self._next_at = 0.0
        (root / "model").mkdir(parents=True)

    def end(self) -> None:
        """It is deleted: first the hook, then SIGTERM."""
        if self.ends_since is None:
            self.ends_since = time.monotonic()
            if self._started:
                hook = self._spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
                self._hook = self._exec([*hook, "--settle", str(SETTLE_S)])

    def kill(self) -> None:
        for process in (self._process, self._probe, self._hook):
            if process is not None:
                process.kill()
                process.wait()

    def crash(self) -> None:
        """The server's process ends."""
        assert self._process is not None
        self._process.kill()

    def step(self) -> None:
        if self.ends_since is not None:
            if self._hook is None or self._hook.poll() is not None:
                self.kill()
                self.ready, self.gone = False, True
        elif self._machinery.unschedulable is None and self._machinery.image_pull is None:
            self._run_containers()

    def _run_containers(self) -> None:
        if self._process is None:
            if time.monotonic() >= self._next_at:
                self._process = self._start_server() if self._fetched else self._start_fetch()
        elif self._process.poll() is not None:
            self._ended(self._process.returncode)
        elif self._fetched:
            self._run_probe()

    def _start_fetch(self) -> "subprocess.Popen[bytes]":
        [container] = self._spec["initContainers"]
        self._init_state = {"running": {}}
        # python -m deploy.endpoint.fetch, for real, over the store that the order's URI names.
        return self._spawn([sys.executable, *container["command"][1:], *container["args"]], "fetch")

    def _start_server(self) -> "subprocess.Popen[bytes]":
        [container] = self._spec["containers"]
        self._state = {"running": {}}
        return self._spawn([*self._command, *container["args"]], "vllm")

    def _spawn(self, argv: list[str], name: str) -> "subprocess.Popen[bytes]":
        env = {key: value for key, value in os.environ.items() if key != "TEMPER_BROKER_URL"}
        self._began = self._machinery.cluster.timestamp()
        with (self._root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(self._here(argv), stdout=log, stderr=log, env=env)

    def _here(self, argv: list[str]) -> list[str]:
        """As this pod sees paths and ports."""
        model = str(self._root / "model")
        found = [model + word.removeprefix("/model") if word.startswith("/model") else word for word in argv]
        here = {"8000": str(self.port), "0.0.0.0": "127.0.0.1"}  # noqa: S104 - what it is never to listen on
        return [here.get(word, word) for word in found]

    def _ended(self, code: int) -> None:
        self._process, self._started, self.ready = None, False, False
        name = "vllm" if self._fetched else "fetch"
        ended = {
            "exitCode": 137 if code < 0 else code,
            "reason": "OOMKilled" if name == "vllm" and self._machinery.oom else "Error",
            "message": (self._root / f"{name}.log").read_text(errors="replace")[-2048:],
            "startedAt": self._began,
            "finishedAt": self._machinery.cluster.timestamp(),
        }
        if not self._fetched and code == 0:
            self._fetched, self._init_state = True, {"terminated": {"exitCode": 0, "reason": "Completed"}}
            return
        self._last = ended
        self.restarts += self._fetched
        backoff = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}}
        if self._fetched:
            self._state = backoff
        else:
            self._init_state = backoff
        self._next_at = time.monotonic() + 0.2

    def _run_probe(self) -> None:
        if self._machinery.oom:
            assert self._process is not None
            self._process.kill()
            return
        if self._probe is not None:
            if self._probe.poll() is None:
                return
            good = self._probe.returncode == 0
            self._started = self._started or good
            self.ready = self._started and good
            self._probe, self._next_at = None, time.monotonic() + (0.2 if self.ready else 0.05)
        elif time.monotonic() >= self._next_at:
            [container] = self._spec["containers"]
            kind = "readinessProbe" if self._started else "startupProbe"
            state = ["--state", str(self._root / "probe.json")]
            self._probe = self._exec([*container[kind]["exec"]["command"], *state])

    def _exec(self, argv: list[str]) -> "subprocess.Popen[bytes]":
        with (self._root / "probe.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *self._here(argv[1:])], stdout=log, stderr=log)

    def status(self) -> Object:
        scheduled: Object = {"type": "PodScheduled", "status": "True"}
        if self._machinery.unschedulable is not None and not self._fetched:
            scheduled = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": self._machinery.unschedulable,
            }
            return {"phase": "Pending", "conditions": [scheduled]}
        init_state = self._init_state
        if self._machinery.image_pull is not None and not self._fetched:
            init_state = {"waiting": {"reason": "ImagePullBackOff", "message": self._machinery.image_pull}}
        return {
            "phase": "Running" if self._fetched else "Pending",
            "conditions": [scheduled, {"type": "Ready", "status": str(self.ready)}],
            "initContainerStatuses": [self._container("fetch", init_state, last=not self._fetched)],
            "containerStatuses": [self._container("vllm", self._state, last=self._fetched)],
        }

    def _container(self, name: str, state: Object, *, last: bool) -> Object:
        found: Object = {"name": name, "state": state, "ready": self.ready, "restartCount": self.restarts}
        if last and self._last is not None:
            found["lastState"] = {"terminated": self._last}
        return found


class _Balancer:
    """A Service: each connection goes to one of the ports that are ready, or is refused."""

    def __init__(self, ready: Any) -> None:
        self._ready = ready
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        ports = self._ready()
        with client:
            if not ports:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", random.choice(ports)))
            except OSError:
                return
            with upstream:
                back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
                back.start()
                _pump(client, upstream)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
