"""DeCE in TRL's SFTTrainer: inside its fused head, and over full logits where that cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.integrations import DeceForTrainer
from training.integrations import LossForTrainer
from training.integrations import NotAttached
from training.integrations import UnsupportedSetting
from training.integrations import loss_for_trainer
from training.losses import cross_entropy

Make = Callable[..., Any]
Rows = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Forty tokens; the rows come as token ids, and TRL wants one all the same."""
    from tokenizers import Tokenizer
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    words = {"<end>": 0, "<pad>": 1} | {f"w{number}": number for number in range(2, 40)}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<pad>")


@pytest.fixture
def sft(tmp_path: Path, causal_rows: Rows, tokenizer: Any) -> Make:
    """Builds a stock SFTTrainer on the CPU that logs every step, two parts each: one epoch, plain SGD."""
    from datasets import Dataset
    from trl import SFTConfig
    from trl import SFTTrainer

    def make(model: Any, *, kind: Any = SFTTrainer, peft_config: Any = None, **settings: Any) -> Any:
        stock = {
            "output_dir": str(tmp_path / "run"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.1,
            "lr_scheduler_type": "constant",
            "optim": "sgd",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
        }
        rows = Dataset.from_list([{name: ids.tolist() for name, ids in row.items()} for row in causal_rows])
        return kind(
            model=model,
            args=SFTConfig(**{**stock, **settings}),
            train_dataset=rows,
            eval_dataset=rows.select(range(8)),
            processing_class=tokenizer,
            peft_config=peft_config,
        )

    return make


def _over_full_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_for_trainer, "takes_fused_loss", lambda _: False)


def _entries(run: Any) -> list[dict[str, float]]:
    return [entry for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gemma", "tiny_mixtral"])
def test_the_fused_loss_is_that_over_full_logits(
    request: pytest.FixtureRequest, sft: Make, weights: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    build = request.getfixturevalue(kind)
    fused = sft(build())
    DeceForTrainer(alpha_base=0.8, label_smoothing=0.1).attach(fused)
    assert fused.compute_loss_func is None
    fused.train()
    _over_full_logits(monkeypatch)
    full = sft(build())
    loss = DeceForTrainer(alpha_base=0.8, label_smoothing=0.1).attach(full)
    assert full.compute_loss_func is loss
    full.train()
    assert len(_entries(fused)) == 4
    for name in ("loss", "gradient_weight", "entropy", "mean_token_accuracy"):
        seen = [entry[name] for entry in _entries(fused)]
        assert seen == pytest.approx([entry[name] for entry in _entries(full)], rel=1e-4), name
    for name, value in weights(fused.model).items():
        torch.testing.assert_close(value, full.model.get_parameter(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gemma", "tiny_mixtral"])
def test_without_blending_and_smoothing_it_is_the_stock_run(
    request: pytest.FixtureRequest, sft: Make, weights: Make, kind: str
) -> None:
    build = request.getfixturevalue(kind)
    stock, ours = sft(build()), sft(build())
    DeceForTrainer(alpha_base=1.0, label_smoothing=0.0).attach(ours)
    stock.train()
    ours.train()
    seen = [entry["loss"] for entry in _entries(ours)]
    assert seen == pytest.approx([entry["loss"] for entry in _entries(stock)], rel=1e-4)
    for name, value in weights(ours.model).items():
        torch.testing.assert_close(value, stock.model.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_no_logits_are_formed_and_no_second_forward_runs(tiny_llama: Make, sft: Make) -> None:
    model = tiny_llama()
    run = sft(model)
    dece = DeceForTrainer(alpha_base=0.8).attach(run)
    bodies: list[float] = []
    heads: list[float] = []
    model.model.register_forward_hook(lambda *_: bodies.append(dece.alpha))
    model.lm_head.register_forward_hook(lambda *_: heads.append(dece.alpha))
    run.train()
    assert bodies == [0.8] * 7
    assert heads == []


def test_only_the_adapter_of_a_peft_model_is_trained(tiny_llama: Make, sft: Make, weights: Make) -> None:
    from peft import LoraConfig

    run = sft(tiny_llama(), peft_config=LoraConfig(r=2, target_modules=["q_proj"]))
    DeceForTrainer().attach(run)
    assert run.compute_loss_func is None
    before = weights(run.model)
    run.train()
    moved = {name for name, value in weights(run.model).items() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_logits_that_are_scaled_go_the_way_over_full_logits(tiny_llama: Make, sft: Make) -> None:
    """The configuration alone: TRL's fused head scales by it, the model itself may too."""
    model = tiny_llama()
    model.config.logits_scaling = 4.0
    run = sft(model)
    loss = DeceForTrainer().attach(run)
    assert run.compute_loss_func is loss


def test_a_model_that_is_compiled_goes_the_way_over_full_logits(tiny_llama: Make, sft: Make) -> None:
    """What is put into its forward would break the graph."""
    run = sft(tiny_llama())
    run.args.torch_compile = True
    loss = DeceForTrainer().attach(run)
    assert run.compute_loss_func is loss


def test_a_trainer_with_its_own_loss_goes_the_way_over_full_logits(tiny_llama: Make, sft: Make) -> None:
    from trl import SFTTrainer

    class Own(SFTTrainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return super().compute_loss(*args, **kwargs)

    run = sft(tiny_llama(), kind=Own)
    loss = DeceForTrainer().attach(run)
    assert run.compute_loss_func is loss
    run.train()
    assert all(0.0 < entry["gradient_weight"] < 1.0 for entry in _entries(run))


def test_a_loss_without_a_fused_form_goes_the_way_over_full_logits(tiny_llama: Make, sft: Make) -> None:
    run = sft(tiny_llama())
    loss = LossForTrainer(cross_entropy).attach(run)
    assert run.compute_loss_func is loss


def test_evaluations_are_dece_or_trls_own(
    tiny_llama: Make, sft: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = sft(tiny_llama()).evaluate()["eval_loss"]
    seen = {}
    for eval_loss in ("cross_entropy", "training"):
        run = sft(tiny_llama())
        DeceForTrainer(alpha_base=0.8, eval_loss=eval_loss).attach(run)
        seen[eval_loss] = run.evaluate()["eval_loss"]
    assert seen["cross_entropy"] == pytest.approx(stock, rel=1e-5)
    _over_full_logits(monkeypatch)
    full = sft(tiny_llama())
    DeceForTrainer(alpha_base=0.8).attach(full)
    assert seen["training"] == pytest.approx(full.evaluate()["eval_loss"], rel=1e-5)
    assert seen["training"] != pytest.approx(stock, rel=0.1)


def test_the_models_other_forwards_stay_as_they_are(tiny_llama: Make, sft: Make) -> None:
    model = tiny_llama()
    ids = torch.arange(3, 9)[None]
    before = model(input_ids=ids, labels=ids)
    DeceForTrainer().attach(sft(model))
    after = model(input_ids=ids, labels=ids)
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.loss, before.loss)
    assert model.eval().generate(ids, max_new_tokens=2, do_sample=False).shape[1] > 6


def test_a_fused_forward_outside_of_a_run_is_refused(tiny_llama: Make, sft: Make) -> None:
    model = tiny_llama()
    DeceForTrainer().attach(sft(model))
    ids = torch.arange(3, 9)[None]
    with pytest.raises(NotAttached):
        model(input_ids=ids, labels=ids, fused_lm_head=True)


def test_another_loss_of_trls_is_refused(tiny_llama: Make, sft: Make) -> None:
    run = sft(tiny_llama(), loss_type="dft")
    with pytest.raises(UnsupportedSetting, match="dft"):
        DeceForTrainer().attach(run)
