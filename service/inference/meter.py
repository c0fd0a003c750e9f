"""Counts one request for a completion, once, by how it ended."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from service.errors import ServiceError
from service.metrics import Metrics

Outcome = Literal["ok", "refused", "unavailable", "failed", "client_gone"]
"""``refused``: the request's fault. ``unavailable``: the model is not deployed, or still starting."""


class Meter:
    """The clock of one request; starts when it is made."""

    def __init__(self, metrics: Metrics, *, route: str, streamed: bool) -> None:
        self._metrics = metrics
        self._route = route
        self._streamed = "true" if streamed else "false"
        self._started: float | None = time.perf_counter()

    def first_byte(self) -> None:
        """Something of the answer is on its way to the client; later calls change nothing."""
        if self._started is not None:
            waited = time.perf_counter() - self._started
            self._metrics.inference_first_byte.labels(self._route, self._streamed).observe(waited)
            self._started = None

    def end(self, outcome: Outcome) -> None:
        """It is over. To be called once."""
        self._metrics.inference_requests.labels(self._route, outcome).inc()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """End it when the block raises, by what it raises; otherwise leave that to the caller."""
        outcome: Outcome | None = "failed"
        try:
            yield
            outcome = None
        except ServiceError as error:
            if error.status < 500:
                outcome = "refused"
            elif error.status == 503:
                outcome = "unavailable"
            raise
        finally:
            if outcome is not None:
                self.end(outcome)
