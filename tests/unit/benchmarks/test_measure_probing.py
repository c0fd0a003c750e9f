"""The probing section, with a stand-in for vLLM."""

import os
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import measure_probing
from benchmarks.measure_probing import ALONE
from benchmarks.measure_probing import BATCHES
from benchmarks.measure_probing import VLLM
from benchmarks.measure_probing import ProbingShape
from benchmarks.measure_probing import Stopwatch
from benchmarks.measure_probing import children_cpu_s
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from training.probing.engine import Generation
from training.probing.engine import OnProgress
from training.probing.transformers_engine import TransformersEngine
from training.probing.vllm_engine import VllmEngine

SHAPE = ProbingShape(
    hidden=32, layers=1, heads=1, vocabulary=400, rows=8, epochs=1, tasks=4, alone=3, new_tokens=6
)


class Counting:
    """A progress that counts."""

    def __init__(self) -> None:
        self.promised = self.done = 0

    def begin(self, title: str, steps: int) -> None:
        del title
        self.promised += steps

    def step(self, doing: str) -> None:
        assert doing
        self.done += 1


class StandIn(TransformersEngine):
    """Answers as transformers does, or not quite."""

    def __init__(self, work: Path, *, spoilt: bool = False) -> None:
        assert work.is_dir()
        self._spoilt = spoilt

    def generate(
        self, models: Sequence[Path], prompts: Sequence[str], *, max_new_tokens: int, on_progress: OnProgress
    ) -> list[list[Generation]]:
        on_progress(0, "starting vLLM")
        on_progress(0, "generating with vLLM, model 1")
        answers = super().generate(models, prompts, max_new_tokens=max_new_tokens, on_progress=on_progress)
        return (
            [[replace(each, text="no") for each in given] for given in answers] if self._spoilt else answers
        )


@pytest.fixture
def progress() -> Counting:
    return Counting()


@pytest.fixture
def measure(progress: Counting, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Section]:
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(measure_probing, "Stopwatch", lambda: Stopwatch(clock=lambda: float(next(ticks))))
    return lambda spoilt: measure_probing.measure_probing(
        Settings(rounds=2, quick=True),
        Watch(progress=progress, cores=2, read_load=lambda: 0.5),
        shape=SHAPE,
        engine=lambda work: StandIn(work, spoilt=spoilt),
    )


def test_every_way_is_timed_and_their_answers_are_equal(
    measure: Callable[[bool], Section], progress: Counting
) -> None:
    section = measure(False)
    assert section.failures == ()
    assert progress.done == progress.promised == 7
    assert [(one.variant, one.quantity) for one in section.measurements] == [
        (ALONE, "prompts a second"),
        (BATCHES, "prompts a second"),
        (VLLM, "prompts a second"),
        (VLLM, "start"),
    ]
    (bar,) = section.bars
    assert bar.at_least
    assert bar.limit == 3.0
    assert all(len(one.spread.samples) == 2 for one in section.measurements)


def test_other_answers_are_a_failure_however_fast(measure: Callable[[bool], Section]) -> None:
    assert measure(True).failures == (f"{VLLM}: 3 of 3 completions differ from those one by one",)


def test_the_threads_are_as_they_were(
    measure: Callable[[bool], Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    measure(False)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in os.environ


def test_a_start_is_told_from_generating() -> None:
    now = iter([10.0, 11.0, 15.0])
    watch = Stopwatch(clock=lambda: next(now))
    for done, message in ((0, "starting vLLM"), (0, "generating with vLLM, model 1"), (5, "generating")):
        watch.hear(done, message)
    assert (watch.start_s, watch.generating_s) == (11.0, 4.0)


def test_children_are_billed_while_they_live() -> None:
    before = children_cpu_s()
    script = (
        "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); import sys; sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert children_cpu_s() - before >= 0.25


def test_where_it_says_nothing_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(progress=Counting(), cores=2, read_load=lambda: 0.5)
    settings = Settings(rounds=2, quick=True)
    monkeypatch.setattr(measure_probing, "find_spec", lambda name: None)
    section = measure_probing.measure_probing(settings, watch, engine=VllmEngine)
    assert section.not_measured == "vLLM is not installed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # The name of the device is not asked for.
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    assert "CUDA" in str(measure_probing.measure_probing(settings, watch).not_measured)
