"""Taking turns: work in threads of which only one runs at a time, and only as far as it is told to.

So a process can be left in the middle of what it does while others go on, and the same plan always gives the
same history.
"""

import threading
from collections.abc import Callable
from collections.abc import Iterator
from itertools import count
from typing import ClassVar
from typing import Final

STUCK_S: Final = 60.0


class Died(Exception):  # noqa: N818 - a fact
    """The process was killed here."""


class Strand:
    """Work that stops at every seam until it is resumed."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._killed = False
        self.begun = next(Turns.moments)
        self.at = ""
        """What it is about to do."""
        self.ended = False
        self.value: object = None
        self.error: BaseException | None = None
        self._thread.start()

    def advance(self, seams: int | None = None) -> None:
        """Let it run past so many seams, or to its end. Raises what it raised, but for its death."""
        while not self.ended and (seams is None or seams > 0):
            Turns.current = self
            self._go.release()
            assert self._back.acquire(timeout=STUCK_S), "it neither ends nor comes to a seam"
            Turns.current = None
            seams = None if seams is None else seams - 1
        error, self.error = self.error, None
        if error is not None and not self._killed:
            raise error

    def kill(self) -> None:
        """End it where it is: nothing more of it happens but what its own death undoes."""
        self._killed = True
        self.advance()
        self._thread.join()

    def advance_until(self, reached: Callable[[], object]) -> None:
        """Let it run from seam to seam until something is true. Fails when it ends before."""
        while not reached():
            assert not self.ended, "it has ended"
            self.advance(1)

    def pause(self, at: str) -> None:
        """At a seam, in whichever thread the work goes on. Raises Died."""
        if self._killed:
            raise Died
        self.at = at
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Died

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self.value = self._work()
        except BaseException as error:
            self.error = error
        self.ended = True
        self._back.release()


class Turns:
    """Whose turn it is: of all threads one runs, and the test's own waits for it."""

    current: ClassVar[Strand | None] = None
    moments: ClassVar[Iterator[int]] = count()
    """Numbers that tell what was before what."""

    def __init__(self) -> None:
        self._transactions = 0

    def begin(self, work: Callable[[], object]) -> Strand:
        """Work that has not done anything yet."""
        return Strand(work)

    def seam(self, at: str) -> None:
        """Between two effects. Not within a transaction, for others could not go on. Raises Died."""
        if Turns.current is not None and not self._transactions:
            Turns.current.pause(at)

    def enter(self) -> None:
        """A transaction that writes begins."""
        self._transactions += 1

    def leave(self) -> None:
        """It is over."""
        self._transactions -= 1
