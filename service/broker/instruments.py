"""What the broker measures. Labels never hold an id: their number must stay bounded."""

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram


class Instruments:
    """The broker's metrics, beside those of every HTTP process (:class:`service.metrics.Metrics`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reviews = Counter(
            "temper_broker_token_reviews_total",
            "Questions about tokens, by outcome: remembered, pod, refused, unavailable.",
            ("outcome",),
            registry=registry,
        )
        self.review_seconds = Histogram(
            "temper_broker_token_review_seconds",
            "Seconds until the API server answered.",
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
        )
        self.refused = Counter(
            "temper_broker_refused_total",
            "Requests that a pod was not allowed, by code.",
            ("code",),
            registry=registry,
        )
        self.written = Counter(
            "temper_broker_writes_total",
            "Objects written, deleted or not, by action and outcome.",
            ("action", "outcome"),
            registry=registry,
        )
        self.bytes = Counter(
            "temper_broker_bytes_total",
            "Bytes of objects, by direction (in, out) and way: through the broker, or direct past it.",
            ("direction", "way"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "temper_broker_requests_in_flight", "Requests of pods that are going on.", registry=registry
        )
