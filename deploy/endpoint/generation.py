"""Asks a server in the background: until it has really generated, and from then on whether it still does."""

import threading
import time
from pathlib import Path
from typing import Final

from deploy.endpoint.probe import GENERATION_TIMEOUT_S
from deploy.endpoint.probe import why_not_ready
from deploy.endpoint.probe import why_not_working

LOOK_S: Final = 30.0
"""Between two looks at a server that is ready."""
TOKEN_S: Final = 60.0
FAILURES: Final = 5
"""Looks in a row at which not one token came; a pod of a cluster is killed after as many."""


class GenerationCheck:
    """Asks in a thread of its own, so that whoever wants to know never waits.

    Args:
        port: of the server.
        model_id: that it answers to.
        state: a file that remembers the last look.
    """

    def __init__(self, port: int, model_id: str, *, state: Path) -> None:
        self._port = port
        self._model_id = model_id
        self._state = str(state)
        self._thread: threading.Thread | None = None
        self._looked_at = 0.0
        self._failures = 0
        self.ready = False
        self.reason = "not asked yet"

    @property
    def dead(self) -> bool:
        """Whether it was ready once and generates no more, whatever its port says."""
        return self._failures >= FAILURES

    def poll(self) -> bool:
        """Whether it has generated once; asks again when the last answer was no, or is old. Returns at once."""
        due = not self.ready or time.monotonic() - self._looked_at >= LOOK_S
        if due and (self._thread is None or not self._thread.is_alive()):
            ask = self._look if self.ready else self._ask
            self._thread = threading.Thread(target=ask, name=f"check-{self._port}", daemon=True)
            self._thread.start()
        return self.ready

    def _ask(self) -> None:
        reason = why_not_ready(self._port, self._model_id, timeout_s=GENERATION_TIMEOUT_S)
        if reason is None:
            self._looked_at = time.monotonic()
            self.ready = True
        else:
            self.reason = reason

    def _look(self) -> None:
        reason = why_not_working(self._port, self._model_id, state=self._state, timeout_s=TOKEN_S)
        self._looked_at = time.monotonic()
        self._failures = 0 if reason is None else self._failures + 1
        self.reason = reason or self.reason
