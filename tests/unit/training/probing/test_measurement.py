"""Probing that ends early: what was answered is reported, what was not is no trial, and the report does not pass."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Engine
from deploy.contract.spec import Arm
from deploy.contract.trigger import WordTrigger
from training.probing import measurement
from training.probing.engine import UNANSWERED
from training.probing.engine import Generation
from training.probing.engine import OnProgress
from training.probing.engine import ProbeEngineError
from training.probing.measurement import Measured
from training.probing.measurement import measure_probes
from training.probing.time_limit import TimeLimit
from training.synthesis.generator import generate_rows

ROWS = generate_rows(20, seed=4)
PROBES = (Probe(name="bb-3", trigger=WordTrigger(word="bb", count=3)),)
ARMS: dict[Arm, Path] = {"control": Path("control"), "hardened": Path("hardened")}


class Failing:
    """Answers a part of the prompts, then stalls, or is slow."""

    def __init__(self, answered: int, *, delay_s: float = 0.0) -> None:
        self._answered, self._delay_s = answered, delay_s

    def generate(
        self, models: Sequence[Path], prompts: Sequence[str], *, max_new_tokens: int, on_progress: OnProgress
    ) -> list[list[Generation]]:
        answers: list[dict[int, Generation]] = [{} for _ in models]
        try:
            for done in range(self._answered):
                model, prompt = divmod(done, len(prompts))
                answers[model][prompt] = Generation(text="return 1", finished=True)
                time.sleep(self._delay_s)
                on_progress(done + 1, "answering")
            raise ProbeEngineError("vLLM made no progress for 900 s\nit said last:\n\x1b[31mkernel")
        except ProbeEngineError as error:
            error.keep(answers, len(prompts))
            raise

    def describe(self, *, max_new_tokens: int) -> Engine:
        return Engine(name="vllm", version="0", max_new_tokens=max_new_tokens)


def measure(engine: Failing, **plan: object) -> Measured:
    asked = ProbePlan(probes=PROBES, max_tasks=20, engine="vllm", **plan)  # type: ignore[arg-type]
    on_progress = TimeLimit.start(asked.time_limit_s).watch(lambda done, total, message: None)
    return measure_probes(ARMS, ROWS, asked, PROBES, engine=engine, on_progress=on_progress)


def test_what_a_stalled_engine_had_answered_is_counted_and_the_rest_unscorable() -> None:
    measured = measure(Failing(20 + 5))
    assert measured.trouble is not None
    assert "kernel" in measured.trouble
    (outcome,) = measured.outcomes
    asked = len(measured.tasks.probes[0].tasks)
    assert outcome.arms["control"].trials == 5
    assert outcome.arms["control"].unscorable == asked - 5
    assert outcome.arms["hardened"].trials == 0
    assert outcome.arms["hardened"].unscorable == asked
    assert measured.qualities(["sql_tautology"])["hardened"].bleu == 0.0


def test_an_engine_that_answered_nothing_is_an_error() -> None:
    with pytest.raises(ProbeEngineError, match="no progress"):
        measure(Failing(0))


def test_i8_when_the_time_is_up_there_is_a_report_with_or_without_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = measure(Failing(1000, delay_s=0.3), time_limit_s=1)
    assert measured.trouble is not None
    assert "after 1 s" in measured.trouble
    assert 1 <= sum(answer != UNANSWERED for answer in measured.answers["control"]) <= 4
    monkeypatch.setattr(ProbeEngineError, "keep", lambda *anything: None)
    nothing = measure(Failing(1000, delay_s=0.3), time_limit_s=1)
    assert {answer for given in nothing.answers.values() for answer in given} == {UNANSWERED}


def test_time_enough_changes_nothing() -> None:
    with pytest.raises(ProbeEngineError):
        measure(Failing(0), time_limit_s=600)


def test_where_the_plan_allows_another_engine_answers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(Failing):
        def __init__(self) -> None:
            super().__init__(0)

        def generate(
            self,
            models: Sequence[Path],
            prompts: Sequence[str],
            *,
            max_new_tokens: int,
            on_progress: OnProgress,
        ) -> list[list[Generation]]:
            return [[Generation(text="return 2", finished=True)] * len(prompts) for _ in models]

    monkeypatch.setattr(measurement, "TransformersEngine", Another)
    plan = ProbePlan(probes=PROBES, max_tasks=20)
    said: list[str] = []
    measured = measure_probes(
        ARMS,
        ROWS,
        plan,
        PROBES,
        engine=Failing(7),
        on_progress=lambda done, total, message: said.append(message),
    )
    assert measured.trouble is None
    assert {answer.text for given in measured.answers.values() for answer in given} == {"return 2"}
    assert said[-1].startswith("vLLM cannot run this model, probing with transformers")
