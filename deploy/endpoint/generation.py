"""Asks a server in the background, again and again, until it has really generated."""

import threading

from deploy.endpoint.probe import GENERATION_TIMEOUT_S
from deploy.endpoint.probe import why_not_ready


class GenerationCheck:
    """Asks in a thread of its own, so that whoever wants to know never waits."""

    def __init__(self, port: int, model_id: str) -> None:
        self._port = port
        self._model_id = model_id
        self._thread: threading.Thread | None = None
        self.ready = False
        self.reason = "not asked yet"

    def poll(self) -> bool:
        """Whether it has generated once; asks again when the last answer was no. Returns at once."""
        if not self.ready and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._ask, name=f"check-{self._port}", daemon=True)
            self._thread.start()
        return self.ready

    def _ask(self) -> None:
        reason = why_not_ready(self._port, self._model_id, timeout_s=GENERATION_TIMEOUT_S)
        if reason is None:
            self.ready = True
        else:
            self.reason = reason
