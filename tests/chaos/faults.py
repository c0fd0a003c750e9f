"""What befalls the parts, drawn from a seeded generator; each fault ends by itself after a while."""

import random
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Final

import psutil

from tests.chaos.parts import Install
from tests.chaos.parts import Part
from tests.chaos.wire import Mood

Undo = Callable[[], None]
Kind = Callable[["Faults"], Iterator[tuple[float, Undo]]]
AT_ONCE: Final = 2
"""Faults that last, side by side: with everything gone nothing is learned."""


@dataclass(slots=True)
class Faults:
    """Injects faults into an install."""

    install: Install
    random: random.Random
    kinds: Sequence[Kind] = ()
    """To choose from; nothing means all."""
    counts: Counter[str] = field(default_factory=Counter)
    _lasting: list[tuple[float, str, Undo]] = field(default_factory=list)

    def step(self) -> None:
        """End what is due, and begin something."""
        now = time.monotonic()
        for each in [each for each in self._lasting if each[0] <= now]:
            self._lasting.remove(each)
            each[2]()
        kind = self.random.choice(self.kinds or KINDS)
        name = kind.__name__.strip("_")
        # What is down cannot be taken down.
        if len(self._lasting) < AT_ONCE and name not in {each[1] for each in self._lasting}:
            for seconds, undo in kind(self):
                self.counts[name] += 1
                self._lasting.append((now + seconds, name, undo))

    def heal(self) -> None:
        """End everything."""
        for _, _, undo in self._lasting:
            undo()
        self._lasting.clear()
        for part in (*self.install.apis, *self.install.reconcilers, self.install.s3):
            part.resume()
            part.start()
        for wire in self.install.wires.values():
            wire.set("open")

    # ---- kinds: each yields how long it lasts and what ends it --------------------------------

    def _kill_api(self) -> Iterator[tuple[float, Undo]]:
        yield from self._kill(self.random.choice(self.install.apis), 2.0)

    def _kill_reconciler(self) -> Iterator[tuple[float, Undo]]:
        yield from self._kill(self.random.choice(self.install.reconcilers), 4.0)

    def _kill(self, part: Part, longest_s: float) -> Iterator[tuple[float, Undo]]:
        part.kill()
        yield self.random.uniform(0.1, longest_s), part.start

    def _pause_api(self) -> Iterator[tuple[float, Undo]]:
        part = self.random.choice(self.install.apis)
        part.pause()
        yield self.random.uniform(0.5, 6.0), part.resume

    def _pause_reconciler(self) -> Iterator[tuple[float, Undo]]:
        """Often for longer than its lock holds."""
        part = self.random.choice(self.install.reconcilers)
        part.pause()
        yield self.random.uniform(1.0, 22.0), part.resume

    def _pause_store(self) -> Iterator[tuple[float, Undo]]:
        self.install.s3.pause()
        yield self.random.uniform(0.5, 5.0), self.install.s3.resume

    def _crash_database(self) -> Iterator[tuple[float, Undo]]:
        self.install.postgres.stop("immediate")
        yield self.random.uniform(0.1, 3.0), self.install.postgres.start

    def _slow_wire(self) -> Iterator[tuple[float, Undo]]:
        yield from self._wire("slow", 6.0)

    def _cut_wire(self) -> Iterator[tuple[float, Undo]]:
        yield from self._wire("reset", 1.5)

    def _silent_wire(self) -> Iterator[tuple[float, Undo]]:
        yield from self._wire("silent", 8.0)

    def _wire(self, mood: Mood, longest_s: float) -> Iterator[tuple[float, Undo]]:
        wire = self.install.wires[self.random.choice(sorted(self.install.wires))]
        wire.set(mood)
        yield self.random.uniform(0.2, longest_s), lambda: wire.set("open")

    def _kill_job(self) -> Iterator[tuple[float, Undo]]:
        for process in self._some_job():
            with suppress(psutil.NoSuchProcess):
                process.kill()
            yield 0.0, _nothing

    def _pause_job(self) -> Iterator[tuple[float, Undo]]:
        for process in self._some_job():
            with suppress(psutil.NoSuchProcess):
                process.suspend()
            yield self.random.uniform(0.2, 3.0), partial(_resume, process)

    def start_job_twice(self) -> Iterator[tuple[float, Undo]]:
        for process in self._some_job():
            self.install.start_twice(process)
            yield 0.0, _nothing

    def _some_job(self) -> list[psutil.Process]:
        running = self.install.job_processes()
        return [self.random.choice(running)] if running else []


def _nothing() -> None:
    """It is over as soon as it has begun."""


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()


KINDS: Final[tuple[Kind, ...]] = (
    Faults._kill_api,
    Faults._kill_reconciler,
    Faults._pause_api,
    Faults._pause_reconciler,
    Faults._pause_store,
    Faults._crash_database,
    Faults._slow_wire,
    Faults._cut_wire,
    Faults._silent_wire,
    Faults._kill_job,
    Faults._kill_job,
    Faults._pause_job,
    Faults.start_job_twice,
    Faults.start_job_twice,
    Faults.start_job_twice,
)
