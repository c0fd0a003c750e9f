"""Looks, lets :mod:`service.reconcile.tick` decide, acts; again and again in one thread.

One process at a time runs this on one database: the embedded service holds its home directory's lock.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.contract import layout
from deploy.contract.dataset.validation import DatasetSummary
from deploy.contract.dataset.validation import validate_in_child
from deploy.endpoint.protocol import EndpointBackend
from deploy.launch.protocol import Launcher
from deploy.launch.protocol import Run
from service.context import Context
from service.evidence.keyring import open_keyring
from service.reconcile.background import TRANSIENT
from service.reconcile.background import Background
from service.reconcile.endpoint_ticks import EndpointTicks
from service.reconcile.errands import Errands
from service.reconcile.evidence_ticks import EvidenceTicks
from service.reconcile.instruments import Instruments
from service.reconcile.job_kind import JobKind
from service.reconcile.scan_kind import ScanKind
from service.reconcile.tools import Tools
from service.reconcile.work_ticks import WorkTicks

logger = logging.getLogger(__name__)
HEARTBEAT: Final = "reconciler"
HEARTBEAT_AGE_S: Final = 60.0
EAGER_S: Final = 0.01
"""Before the next tick, when this one has found what to decide on: nobody waits a whole interval for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What a launcher showed at one moment."""

    jobs: dict[str, Run]
    scans: dict[str, Run]
    observed_at: float


class Reconciler:
    """Brings jobs, scans and endpoints where their rows want them.

    Args:
        context: of the process.
        launcher: runs attempts.
        backend: serves models.
        validate: checks a dataset; the real one starts a child process.

    Raises:
        SettingsError: there is no key to sign evidence with.
    """

    _stop: threading.Event | None = None
    _runs: Runs | None = None

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        backend: EndpointBackend,
        *,
        validate: Callable[..., DatasetSummary] = validate_in_child,
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._backend = backend
        self._background = Background()
        self._instruments = Instruments(context.metrics.registry)
        self._errands = Errands()
        tools = Tools(
            context=context,
            launcher=launcher,
            background=self._background,
            errands=self._errands,
            instruments=self._instruments,
            leads=self._leads,
        )
        keyring = open_keyring(context.settings)
        self._jobs = WorkTicks(tools, JobKind(context, keyring, validate=validate))
        self._scans = WorkTicks(tools, ScanKind(context, validate=validate))
        self._evidence = EvidenceTicks(context, keyring, self._background)
        self._endpoints = EndpointTicks(
            context, backend, self._background, self._instruments, keyring=keyring
        )

    def tick(self) -> int:
        """Look and act once. Returns how many actions there were."""
        with self._instruments.ticks.time():
            return sum(part() for part in self._parts())

    def _parts(self) -> tuple[Callable[[], int], ...]:
        """Of a tick, in order: what one of them raises must not keep the others from their work."""
        return self._observe, self._tick_jobs, self._tick_scans, self._endpoints.tick, self._evidence.tick

    def close(self) -> None:
        """Stop local runs and servers, and finish background work."""
        self._errands.close()
        self._launcher.close()
        self._backend.close()
        self._background.close()

    def settle(self) -> None:
        """Wait for everything that was begun in other threads."""
        self._errands.wait()
        self._background.wait()

    def _leads(self) -> bool:
        """Asked right before anything is done that no row's version guards."""
        return self._stop is None or not self._stop.is_set()

    def _observe(self) -> int:
        self._runs = None
        observed_at = self._launcher.observed_at  # before the runs, which are at least as new
        runs = self._launcher.observe()  # before the rows: see tick.tick()
        self._runs = Runs(jobs={}, scans={}, observed_at=observed_at)
        for name, run in runs.items():
            (self._runs.scans if layout.is_scan(name) else self._runs.jobs)[name] = run
        return 0

    def _tick_jobs(self) -> int:
        runs = self._runs
        return 0 if runs is None else self._jobs.tick(runs.jobs, observed_at=runs.observed_at)

    def _tick_scans(self) -> int:
        runs = self._runs
        return 0 if runs is None else self._scans.tick(runs.scans, observed_at=runs.observed_at)

    def run(self, stop: threading.Event) -> None:
        """Tick until told to stop. The supervisor: nothing that a tick raises ends the thread."""
        self._stop = stop
        self._jobs.begin()
        self._scans.begin()
        heartbeat = self._context.heartbeats.register(HEARTBEAT, max_age_s=HEARTBEAT_AGE_S)
        while not stop.is_set():
            started = time.monotonic()
            with self._instruments.ticks.time():
                for part in self._parts():
                    self._supervised(part)
            if self._runs is not None:  # else nothing can be done here; elsewhere it may
                heartbeat.beat()
            stop.wait(self._pause_s(time.monotonic() - started))

    def _supervised(self, part: Callable[[], int]) -> None:
        try:
            part()
        except TRANSIENT as error:
            self._instruments.failures.labels("tick").inc()
            logger.warning("tick failed and will be tried again: %s", error)
        except Exception:  # the reconciler's supervisor
            self._instruments.failures.labels("tick").inc()
            logger.exception("tick failed")

    def _pause_s(self, took_s: float) -> float:
        if self._runs is not None and (self._jobs.eager or self._scans.eager):
            return EAGER_S
        return max(0.0, self._context.settings.reconcile_interval_s - took_s)
