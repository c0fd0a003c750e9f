"""Work that takes too long for a tick: done in threads, once for each key, its outcome kept until it is used."""

import logging
from collections.abc import Callable
from collections.abc import Hashable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from deploy.endpoint.protocol import EndpointError
from deploy.launch.protocol import LaunchError
from deploy.store.protocol import StoreError
from service.leadership import NotLeading
from service.work.inputs import InputsUnavailable

logger = logging.getLogger(__name__)
TRANSIENT = (
    StoreError,
    LaunchError,
    EndpointError,
    SQLAlchemyError,
    OSError,
    InputsUnavailable,
    NotLeading,
)
"""Failures of what we depend on: nothing is known, so the next tick, or the next leader, tries again."""


class Background:
    """Keyed work. Not thread-safe: only the reconciler's thread talks to it."""

    def __init__(self, *, workers: int = 2) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="reconcile")
        self._futures: dict[Hashable, Future[Any]] = {}

    def submit(self, key: Hashable, work: Callable[[], Any]) -> None:
        """Begin ``work`` unless work of this key is going on or its outcome has not been used."""
        if key not in self._futures:
            self._futures[key] = self._pool.submit(work)

    def outcome(self, key: Hashable) -> Any | None:
        """What the work of a key returned; None while there is nothing. Transient failures are forgotten.

        Raises whatever else the work raised: that is a defect, and the supervisor's to log.
        """
        future = self._futures.get(key)
        if future is None or not future.done():
            return None
        try:
            return future.result()
        except TRANSIENT as error:
            del self._futures[key]
            logger.warning("%s failed and will be tried again: %s", key, error)
            return None
        except BaseException:
            del self._futures[key]
            raise

    def forget(self, key: Hashable) -> None:
        """Drop the outcome of a key; work that is going on is finished and dropped."""
        self._futures.pop(key, None)

    def wait(self, *, timeout_s: float | None = None) -> None:
        """Until everything that was begun has ended."""
        wait(self._futures.values(), timeout=timeout_s)

    def close(self) -> None:
        """Begin nothing more; wait for what is going on."""
        self._pool.shutdown(wait=True, cancel_futures=True)
