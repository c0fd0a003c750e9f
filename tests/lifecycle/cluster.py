"""A cluster that starts a run once, twice or not at all, forgets it, and shows what was a while ago."""

import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from tests.lifecycle.history import History
from tests.lifecycle.history import Launched
from tests.lifecycle.process import Process
from tests.lifecycle.turns import Strand

KILLED = 137
INTERRUPTED = 51


@dataclass(slots=True)
class Pod:
    """One start of a run."""

    process: Process
    strand: Strand

    def kill(self) -> None:
        """As the kernel would."""
        self.process.dead = True
        self.strand.kill()


@dataclass(slots=True)
class Job:
    """A run as the cluster keeps it."""

    order: Launch
    pods: list[Pod] = field(default_factory=list)
    exit_code: int | None = None
    stopping: bool = False

    @property
    def run(self) -> Run:
        """What is shown of it."""
        name = self.order.name
        if self.exit_code is not None:
            return Run(name=name, phase=RunPhase.EXITED, exit_code=self.exit_code)
        return Run(name=name, phase=RunPhase.RUNNING if self.pods else RunPhase.PENDING)

    def note_ends(self) -> None:
        """The first pod that ends ends the run, whatever others still do."""
        for pod in self.pods:
            if self.exit_code is None and pod.strand.ended:
                code = pod.strand.value
                self.exit_code = code if isinstance(code, int) else KILLED


@dataclass(slots=True)
class Cluster:
    """The cluster itself. Pods of a run that is forgotten go on until somebody lets them end."""

    history: History
    start: Callable[[Launch], Pod]
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    """All that ever were."""
    lags: bool = False
    view: dict[str, Run] = field(default_factory=dict)
    view_at: float = 0.0

    def launch(self, process: str, order: Launch) -> None:
        """Make a run, unless one of its name is there."""
        if order.name not in self.jobs:
            self.jobs[order.name] = Job(order=order)
            self.history.add(Launched(process=process, name=order.name, spec_uri=order.spec_uri))

    def start_pod(self, name: str) -> Pod:
        """One more pod of a run; a second one is what Kubernetes calls rare."""
        pod = self.start(self.jobs[name].order)
        self.jobs[name].pods.append(pod)
        self.pods.append(pod)
        return pod

    def observe(self) -> tuple[dict[str, Run], float]:
        """Every run, and the moment that this shows."""
        if not self.lags:
            self.view = {name: job.run for name, job in self.jobs.items()}
            self.view_at = time.monotonic()
        return dict(self.view), self.view_at

    def stop(self, name: str) -> None:
        """Ask the pods to end; they may go on for a while."""
        job = self.jobs.get(name)
        if job is not None and job.exit_code is None:
            job.stopping = True
            if not job.pods:
                job.exit_code = INTERRUPTED

    def reap(self, name: str) -> None:
        """The time of a stopped run's pods is over."""
        job = self.jobs[name]
        for pod in job.pods:
            pod.kill()
        if job.exit_code is None:
            job.exit_code = INTERRUPTED


class LauncherView:
    """The cluster as one process of the service reaches it."""

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self._cluster = cluster
        self._process = process
        self._observed_at = 0.0

    def launch(self, order: Launch) -> None:
        self._reach("launch")
        self._cluster.launch(self._process.name, order)
        if self._process.takes("lost"):
            raise LaunchError("the answer was lost")

    def observe(self) -> Mapping[str, Run]:
        self._reach("observe")
        runs, self._observed_at = self._cluster.observe()
        return runs

    @property
    def observed_at(self) -> float:
        return time.monotonic() if not self._cluster.lags else self._cluster.view_at

    def stop(self, name: str, *, grace_s: float) -> None:
        self._reach("stop")
        self._cluster.stop(name)

    def remove(self, name: str) -> None:
        self._reach("remove")
        self._cluster.jobs.pop(name, None)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        self._reach("log_tail")
        return f"log of {name}"

    def close(self) -> None:
        """The runs go on."""

    def _reach(self, at: str) -> None:
        self._process.seam(at)
        if self._process.launcher_away or self._process.takes("cut"):
            raise LaunchError("the cluster cannot be reached")
