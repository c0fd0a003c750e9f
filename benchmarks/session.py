"""One run of the benchmarks: what was asked for, who watches the machine, and what the user is shown meanwhile."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol
from typing import TypeVar

from benchmarks import machine
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.timing import Timed

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far a section is."""

    def begin(self, title: str, steps: int) -> None:
        """A section of so many steps."""
        ...

    def step(self, doing: str) -> None:
        """One step is done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for."""

    rounds: int
    quick: bool
    """Small sizes, for trying the benchmark itself; the bars are not made for them."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """Follows the machine's load through a section."""

    progress: Progress
    cores: int
    read_load: Callable[[], float] = machine.load
    loads: list[float] = field(default_factory=list)

    def tick(self, doing: str) -> None:
        """After every piece of work."""
        self.loads.append(self.read_load())
        self.progress.step(doing)


def attempt(what: str, work: Callable[[], T], failures: list[str]) -> T | None:
    """The work's result, or None and a sentence in ``failures``: one variant must not end the run."""
    try:
        return work()
    except (RuntimeError, ValueError, AttributeError, ImportError, OSError) as error:
        said = str(error).strip().splitlines()
        failures.append(f"{what} did not run: {type(error).__name__}: {said[0] if said else ''}"[:500])
        return None


def finish(
    name: str,
    title: str,
    *,
    shape: Mapping[str, Any],
    settings: Settings,
    watch: Watch,
    timed: Timed | None,
    measurements: Sequence[Measurement],
    bars: Sequence[Bar],
    notes: Sequence[str],
    failures: Sequence[str],
) -> Section:
    """A section with what the watch saw."""
    share = timed.cpu_share if timed is not None else 1.0
    said = ["Small sizes, for trying the benchmark: the bars are not made for them.", *notes]
    return Section(
        name=name,
        title=title,
        shape=dict(shape),
        machine=machine.describe(),
        rounds=settings.rounds,
        loads=(min(watch.loads, default=0.0), max(watch.loads, default=0.0)),
        cpu_share=share,
        busy=machine.why_busy(watch.loads, cores=watch.cores, cpu_share=share),
        measurements=tuple(measurements),
        bars=tuple(bars),
        notes=tuple(said if settings.quick else notes),
        failures=tuple(failures),
    )
