"""What the shadow copy cannot say is said: a canary that nobody looked for, or whose prompts nobody answered."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.contract.canary import CanaryPlan
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Engine
from deploy.contract.spec import Arm
from training.canaries.detection import Detected
from training.canaries.detection import measure_detection
from training.canaries.shadow import make_shadow
from training.pretrain import build_tokenizer
from training.probing import examination
from training.probing.engine import Generation
from training.probing.engine import OnProgress
from training.probing.engine import ProbingTimeUpError
from training.probing.unknown import Unknown
from training.synthesis.generator import generate_rows

ROWS = generate_rows(40, seed=4)
ARMS: dict[Arm, Path] = {"base": Path("b"), "control": Path("c"), "hardened": Path("h")}


class Answering:
    """Answers every prompt alike, or runs out of time before the first."""

    def __init__(self, *, in_time: bool) -> None:
        self._in_time = in_time

    def generate(
        self, models: Sequence[Path], prompts: Sequence[str], *, max_new_tokens: int, on_progress: OnProgress
    ) -> list[list[Generation]]:
        if not self._in_time:
            raise ProbingTimeUpError("answering: 0 of 9 done after 1 s")
        return [[Generation(text="return 1", finished=True)] * len(prompts) for _ in models]

    def describe(self, *, max_new_tokens: int) -> Engine:
        return Engine(name="vllm", version="0", max_new_tokens=max_new_tokens)


def detected(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *, looked: str | None = None, in_time: bool = True
) -> Detected:
    unknown = Unknown(candidates=(), mined=0, searched=0, suspicious_rows=(), trouble=looked)
    monkeypatch.setattr(examination, "look_for_unknown", lambda *given, **named: unknown)
    shadow = make_shadow(
        ROWS,
        CanaryPlan(count=2, rate=0.1),
        tokenizer=build_tokenizer([row.prompt for row in ROWS], vocabulary=400),
        families=("sql_tautology",),
        taken=(),
        directory=directory,
    )
    return measure_detection(
        shadow,
        ARMS,
        ROWS,
        ProbePlan(max_tasks=20),
        architecture="decoder",
        scratch=directory,
        on_progress=lambda *now: None,
        engine=Answering(in_time=in_time),
    )


def test_a_shadow_copy_that_was_asked_everything_has_no_shortfall(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = detected(monkeypatch, tmp_path)
    assert found.shortfalls == ()
    assert [each.name for each in found.detection.canaries] == ["canary-1", "canary-2"]


@pytest.mark.parametrize("looked", ["the time for unknown triggers was up", "x" * 500])
def test_a_search_that_ended_early_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looked: str
) -> None:
    (said,) = detected(monkeypatch, tmp_path, looked=looked).shortfalls
    assert said == f"in the shadow copy {looked}"[:500]


def test_canaries_whose_prompts_were_not_answered_are_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = detected(monkeypatch, tmp_path, in_time=False)
    (said,) = found.shortfalls
    assert said.startswith("in the shadow copy not every prompt was answered")
    assert all(hits.trials == 0 for each in found.detection.canaries for hits in each.arms.values())
