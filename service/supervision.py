"""Doing something again and again in a thread of its own, whatever goes wrong with it."""

import logging
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

from service.reconcile.background import TRANSIENT

logger = logging.getLogger(__name__)


def keep_doing(what: str, step: Callable[[], object], stop: threading.Event, *, every_s: float) -> None:
    """Until told to stop. A supervisor: nothing that goes wrong in a step ends the thread."""
    while not stop.is_set():
        try:
            step()
        except TRANSIENT as error:
            logger.warning("%s failed and will be tried again: %s", what, error)
        except Exception:  # the supervisor of all that goes on beside the ticks
            logger.exception("%s failed", what)
        stop.wait(every_s)


@contextmanager
def kept_doing(what: str, step: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """For as long as the block lasts; a step that has begun then is waited for."""
    stop = threading.Event()
    arguments = {"what": what, "step": step, "stop": stop, "every_s": every_s}
    thread = threading.Thread(target=keep_doing, kwargs=arguments, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
