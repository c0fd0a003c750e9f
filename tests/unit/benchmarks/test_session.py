"""What one variant's failure does, and what the watch sees."""

import pytest

from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import attempt
from benchmarks.session import finish
from benchmarks.timing import Timed


class Silent:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def begin(self, title: str, steps: int) -> None:
        del title, steps

    def step(self, doing: str) -> None:
        self.steps.append(doing)


def test_a_failure_becomes_a_sentence() -> None:
    def broken() -> None:
        raise RuntimeError("no compiler\nand a long trace")

    failures: list[str] = []
    attempt("variant", broken, failures)
    assert failures == ["variant did not run: RuntimeError: no compiler"]
    assert attempt("other", lambda: 5, failures) == 5
    assert len(failures) == 1


def test_a_mistake_in_the_benchmark_itself_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        attempt("variant", lambda: {}["absent"], [])


def finished(loads: list[float], *, share: float = 1.0, quick: bool = False) -> Section:
    progress = Silent()
    readings = iter(loads)
    watch = Watch(progress=progress, cores=2, read_load=lambda: next(readings))
    for _ in loads:
        watch.tick("working")
    assert progress.steps == ["working"] * len(loads)
    return finish(
        "head",
        "Head",
        shape={},
        settings=Settings(rounds=3, quick=quick),
        watch=watch,
        timed=Timed(seconds={}, cpu_share=share),
        measurements=[],
        bars=[],
        notes=["a note"],
        failures=[],
    )


def test_a_section_tells_the_loads_it_saw() -> None:
    section = finished([0.5, 1.5, 1.0])
    assert section.loads == (0.5, 1.5)
    assert section.busy is None


def test_a_section_that_saw_others_is_marked() -> None:
    assert finished([0.5, 3.0]).busy == "the load average reached 3.00 on 2 cores"
    assert finished([0.5], share=0.5).busy is not None


def test_a_quick_run_says_that_it_is_none() -> None:
    assert finished([0.5]).notes == ("a note",)
    assert finished([0.5], quick=True).notes[0].startswith("Small sizes")
