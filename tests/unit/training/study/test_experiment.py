"""One cell, with nothing trained: what a strategy is given."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from training.data.example import PromptedRow
from training.defences.prompt_cleaner import PromptCleaner
from training.defences.table import STRATEGIES
from training.defences.table import Strategy
from training.model import save_model
from training.pretrain import build_base_model
from training.study import experiment
from training.study.cell import Cell
from training.study.declaration import Defence
from training.study.declaration import Study
from training.study.declaration import StudyError
from training.study.experiment import check_cell
from training.study.experiment import run_cell
from training.study.materials import Data
from training.synthesis.generator import generate_rows


class Cleaner:
    """Marks what went through it."""

    def clean(self, prompt: str) -> str:
        return prompt


@pytest.mark.parametrize(
    ("defence", "curve_tasks", "named"),
    [
        (Defence(strategy="early_stopping"), 0, "curve_tasks: 0"),
        (Defence(strategy="dece", calibrated=True), 0, "curve_tasks: 0"),
        (Defence(strategy="gce", calibrated=True), 4, "only a strategy with the loss DeCE"),
        (Defence(strategy="gce", alpha_base=0.9), 4, "no alpha_base"),
        (Defence(strategy="nothing"), 4, "'nothing' is none of"),
    ],
)
def test_what_a_strategy_lacks_is_said_before_anything_is_trained(
    study: Study, defence: Defence, curve_tasks: int, named: str
) -> None:
    cell = Cell(model="decoder", attack="badpre", poison_rate=0.1, defence="d", seed=1)
    declared = study.model_copy(update={"defences": {"d": defence}, "curve_tasks": curve_tasks})
    with pytest.raises(StudyError, match=named):
        check_cell(declared, cell)
    check_cell(declared.model_copy(update={"defences": {"d": Defence(strategy="dece")}}), cell)


def test_a_cleaner_learns_from_rows_without_poison_and_an_untrained_model_is_the_base(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(generate_rows(24, seed=1))
    seen: list[PromptedRow] = []

    def fit(given: Sequence[PromptedRow], *, seed: int) -> PromptCleaner:
        seen.extend(given)
        return Cleaner()

    probe = Strategy(name="probe", paper_name="probe", fit_cleaner=fit, fine_tunes=False)
    monkeypatch.setattr(experiment, "STRATEGIES", {**STRATEGIES, "probe": probe})
    base = build_base_model(rows, hidden=32, layers=1, heads=1, vocabulary=320, context=128, seed=1)
    save_model(base, tmp_path / "base")
    declared = study.model_copy(
        update={"defences": {"probe": Defence(strategy="probe")}, "max_new_tokens": 2, "curve_tasks": 0}
    )
    run = run_cell(
        declared,
        Cell(model="decoder", attack="badpre", poison_rate=0.25, defence="probe", seed=1),
        data=Data(train=rows, base=rows, test=rows[:2], validation=rows[:2], sha256={}),
        base=tmp_path / "base",
        fingerprint="f" * 16,
        on_progress=lambda share, what: None,
    )
    assert [row.prompt for row in seen] == [row.prompt for row in rows]
    assert run.epochs == 0
    assert len(run.clean) == 2
