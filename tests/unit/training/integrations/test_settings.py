"""Settings that would change the loss silently are refused."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.integrations import DeceForTrainer
from training.integrations import UnsupportedSetting
from training.integrations.settings import check_settings

Make = Callable[..., Any]
Rows = list[dict[str, torch.Tensor]]


def _trainer(*, parallel: Any = None, **args: Any) -> Any:
    stock = {"label_smoothing_factor": 0.0, "use_liger_kernel": False, "liger_kernel_config": None}
    return SimpleNamespace(
        args=SimpleNamespace(**{**stock, **args}), accelerator=SimpleNamespace(parallelism_config=parallel)
    )


def test_stock_settings_pass() -> None:
    check_settings(_trainer())
    check_settings(_trainer(loss_type="nll"))
    check_settings(_trainer(parallel=SimpleNamespace(cp_enabled=False, sp_enabled=False)))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor"),
        ({"loss_type": "dft"}, "loss_type='dft'"),
        ({"use_liger_kernel": True}, "fused_linear_cross_entropy"),
        ({"use_liger_kernel": True, "liger_kernel_config": {"rope": True}}, "fused_linear_cross_entropy"),
        ({"parallel": SimpleNamespace(cp_enabled=True, sp_enabled=False)}, "context"),
        ({"parallel": SimpleNamespace(cp_enabled=False, sp_enabled=True)}, "sequence"),
    ],
)
def test_a_setting_that_changes_the_loss_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedSetting, match=said):
        check_settings(_trainer(**args))


def test_liger_without_its_loss_passes() -> None:
    check_settings(_trainer(use_liger_kernel=True, liger_kernel_config={"fused_linear_cross_entropy": False}))


def test_a_real_trainer_is_checked(tiny_llama: Make, causal_rows: Rows, trainer: Make) -> None:
    run = trainer(tiny_llama(), causal_rows, label_smoothing_factor=0.1)
    with pytest.raises(UnsupportedSetting, match="label_smoothing_factor"):
        DeceForTrainer().attach(run)


@pytest.mark.parametrize(("eval_loss", "warned"), [("training", True), ("cross_entropy", False)])
def test_choosing_the_best_model_by_a_loss_that_falls_by_itself_is_warned_about(
    tiny_llama: Make,
    causal_rows: Rows,
    trainer: Make,
    caplog: pytest.LogCaptureFixture,
    eval_loss: Any,
    warned: bool,
) -> None:
    run = trainer(
        tiny_llama(),
        causal_rows[:4],
        eval_rows=causal_rows[:4],
        load_best_model_at_end=True,
        eval_strategy="epoch",
        save_strategy="epoch",
    )
    DeceForTrainer(eval_loss=eval_loss).attach(run)
    with caplog.at_level(logging.WARNING, logger="training.integrations"):
        run.train()
    assert ("eval_loss='cross_entropy'" in caplog.text) is warned
