"""A controller of the fake API server: looks at the objects again and again, in a thread of its own."""

import threading
from abc import ABC
from abc import abstractmethod

STEP_S = 0.02


class Stepping(ABC):
    """Steps from :meth:`start` to :meth:`close`, which raises what a step has raised."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def _step(self) -> None:
        """Look once, and act."""

    @abstractmethod
    def _finish(self) -> None:
        """End whatever the steps have begun."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._finish()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.wait(STEP_S):
                self._step()
        except BaseException as error:
            self._failure = error
            raise
