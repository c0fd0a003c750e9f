"""What the reconciler measures of itself, and how it survives what one action raises."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram

from service.reconcile.background import TRANSIENT

logger = logging.getLogger(__name__)


class Instruments:
    """The metrics of one reconciler."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Histogram(
            "temper_reconcile_tick_duration_seconds", "Seconds that one tick took.", registry=registry
        )
        self.failures = Counter(
            "temper_reconcile_failures_total", "Ticks or actions that failed.", ("kind",), registry=registry
        )
        self.actions = Counter(
            "temper_reconcile_actions_total", "Actions taken.", ("action",), registry=registry
        )
        self.work = {
            "job": Gauge("temper_jobs", "Jobs that are not over.", ("status",), registry=registry),
            "scan": Gauge("temper_scans", "Scans that are not over.", ("status",), registry=registry),
        }
        self.endpoints = Gauge(
            "temper_endpoints", "Endpoints that have not ended.", ("status",), registry=registry
        )

    @contextmanager
    def guard(self, kind: str) -> Iterator[None]:
        """One action that cannot be done now must not keep the others from being done."""
        try:
            yield
            self.actions.labels(kind).inc()
        except TRANSIENT as error:
            self.failures.labels(kind).inc()
            logger.warning("%s failed and will be tried again: %s", kind, error)
