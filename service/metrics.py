"""What the service measures of itself. Labels never hold an id: their number must stay bounded."""

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram
from prometheus_client import generate_latest


class Metrics:
    """The metrics of one app, in a registry of their own. Others register theirs with ``registry``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "temper_http_requests_total",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "temper_http_request_duration_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0),
        )
        self.received = Counter(
            "temper_received_bytes_total",
            "Bytes of file content received into the store.",
            registry=self.registry,
        )

        self.leader = Gauge(
            "temper_leader",
            "1 in the process that reconciles, 0 in the others.",
            registry=self.registry,
        )
        self.inference_requests = Counter(
            "temper_inference_requests_total",
            "Well-formed requests for completions, by how they ended.",
            ("route", "outcome"),
            registry=self.registry,
        )
        self.inference_first_byte = Histogram(
            "temper_inference_first_byte_seconds",
            "Seconds until a model's answer began; of one that is not streamed, until it was there.",
            ("route", "streamed"),
            registry=self.registry,
            buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
        )
        self.audit_lost = Counter(
            "temper_audit_lost_total",
            "Entries of the audit log that could not be written.",
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
