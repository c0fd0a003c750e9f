"""Every request is counted once, by how it ended."""

import pytest

from service.errors import BadRequest
from service.errors import GatewayTimeout
from service.errors import NotFound
from service.errors import Unavailable
from service.inference.meter import Meter
from service.metrics import Metrics

ROUTE = "/v1/completions"


def count(metrics: Metrics, outcome: str) -> float:
    labels = {"route": ROUTE, "outcome": outcome}
    return metrics.registry.get_sample_value("temper_inference_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BadRequest("x"), "refused"),
        (NotFound("x"), "refused"),
        (Unavailable("x"), "unavailable"),
        (GatewayTimeout("x"), "failed"),
        (ZeroDivisionError(), "failed"),
        (KeyboardInterrupt(), "failed"),
    ],
)
def test_what_is_raised_decides(error: BaseException, outcome: str) -> None:
    metrics = Metrics()
    meter = Meter(metrics, route=ROUTE, streamed=False)
    with pytest.raises(type(error)), meter.failing():
        raise error
    assert {each: count(metrics, each) for each in ("refused", "unavailable", "failed", "ok")} == {
        **dict.fromkeys(("refused", "unavailable", "failed", "ok"), 0.0),
        outcome: 1.0,
    }


def test_what_goes_well_is_not_counted_before_its_end() -> None:
    metrics = Metrics()
    meter = Meter(metrics, route=ROUTE, streamed=True)
    with meter.failing():
        pass
    assert count(metrics, "failed") == 0
    meter.end("ok")
    assert count(metrics, "ok") == 1


def test_the_first_byte_counts_once() -> None:
    metrics = Metrics()
    meter = Meter(metrics, route=ROUTE, streamed=True)
    for _ in range(3):
        meter.first_byte()
    labels = {"route": ROUTE, "streamed": "true"}
    assert metrics.registry.get_sample_value("temper_inference_first_byte_seconds_count", labels) == 1
