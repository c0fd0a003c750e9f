"""What is measured of deliveries."""

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram


class Instruments:
    """The metrics of one process that delivers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "temper_webhook_deliveries_total",
            "Tries to deliver an event: delivered, retried (later), failed (given up), refused (not sent at all).",
            ("outcome",),
            registry=registry,
        )
        self.duration = Histogram(
            "temper_webhook_delivery_duration_seconds",
            "Seconds that one try took.",
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
        )
        self.disabled = Counter(
            "temper_webhooks_disabled_total", "Webhooks that were given up.", registry=registry
        )
        self.backlog = Gauge(
            "temper_webhook_backlog", "Deliveries that are due and not made.", registry=registry
        )
        self.backlog_age = Gauge(
            "temper_webhook_backlog_age_seconds",
            "Seconds for which the oldest of them has been due.",
            registry=registry,
        )
