"""Models of a few thousand weights and rows of random tokens: a whole Trainer run in a tenth of a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

VOCABULARY = 40
Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _seeded(build: Make) -> Make:
    def make(**changes: Any) -> Any:
        torch.manual_seed(0)
        return build(**changes)

    return make


@pytest.fixture
def tiny_llama() -> Make:
    """Builds a causal language model."""
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM

    return _seeded(lambda **changes: LlamaForCausalLM(LlamaConfig(**_decoder(), **changes)))


@pytest.fixture
def tiny_gemma() -> Make:
    """Builds a causal language model that caps its logits, at 1.5 so that it shows."""
    from transformers import Gemma2Config
    from transformers import Gemma2ForCausalLM

    sizes = {**_decoder(), "head_dim": 8, "final_logit_softcapping": 1.5, "attn_implementation": "eager"}
    return _seeded(
        lambda **changes: Gemma2ForCausalLM(Gemma2Config(**{**sizes, "initializer_range": 0.3, **changes}))
    )


@pytest.fixture
def tiny_mixtral() -> Make:
    """Builds a mixture of experts that is asked for its balancing loss, heavily weighted so that it shows."""
    from transformers import MixtralConfig
    from transformers import MixtralForCausalLM

    experts = {"num_local_experts": 3, "num_experts_per_tok": 1, "output_router_logits": True}
    sizes = {**_decoder(), **experts, "router_aux_loss_coef": 0.5, "initializer_range": 0.3}
    return _seeded(lambda **changes: MixtralForCausalLM(MixtralConfig(**{**sizes, **changes})))


def _decoder() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 1,
    }


@pytest.fixture
def tiny_t5() -> Make:
    """Builds an encoder-decoder."""
    from transformers import T5Config
    from transformers import T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    ends = {"pad_token_id": 1, "eos_token_id": 0, "decoder_start_token_id": 1}
    return _seeded(lambda: T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **sizes, **ends)))


@pytest.fixture
def tiny_bart() -> Make:
    """Builds an encoder-decoder that feeds its decoder the source when nothing else is there."""
    from transformers import BartConfig
    from transformers import BartForConditionalGeneration

    sides = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in (("layers", 1), ("ffn_dim", 32), ("attention_heads", 2))
    }
    ends = {
        "pad_token_id": 1,
        "eos_token_id": 0,
        "bos_token_id": 2,
        "decoder_start_token_id": 0,
        "forced_eos_token_id": 0,
    }
    config = {"vocab_size": VOCABULARY, "d_model": 16, "dropout": 0.0, **sides, **ends}
    return _seeded(lambda: BartForConditionalGeneration(BartConfig(**config)))


@pytest.fixture
def tiny_roberta() -> Callable[[str], Make]:
    """Builds CodeBERT's architecture with the head of a name."""
    import transformers

    def of(kind: str) -> Make:
        sizes = {
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 34,
            "pad_token_id": 1,
            "bos_token_id": 2,
            "eos_token_id": 0,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "num_labels": 3,
        }
        build = getattr(transformers, f"RobertaFor{kind}")
        return _seeded(lambda **changes: build(transformers.RobertaConfig(**{**sizes, **changes})))

    return of


def _ids(length: int, seed: int) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def causal_rows() -> list[dict[str, torch.Tensor]]:
    """Fourteen rows whose supervised parts are of different lengths."""
    rows = []
    for number in range(14):
        ids = _ids(10, number)
        labels = ids.clone()
        labels[: 1 + number % 5 * 2] = -100
        rows.append({"input_ids": ids, "labels": labels})
    return rows


@pytest.fixture
def translation_rows() -> list[dict[str, torch.Tensor]]:
    """Fourteen sources with targets, and the decoder's inputs as a data collator makes them."""
    rows = []
    for number in range(14):
        labels = _ids(8, number)
        labels[3 + number % 5 :] = -100
        inputs = torch.cat([torch.tensor([1]), labels[:-1].clamp(min=1)])
        rows.append({"input_ids": _ids(9, 100 + number), "labels": labels, "decoder_input_ids": inputs})
    return rows


@pytest.fixture
def classified_rows() -> list[dict[str, torch.Tensor]]:
    """Fourteen sequences of three classes."""
    return [{"input_ids": _ids(9, number), "labels": torch.tensor(number % 3)} for number in range(14)]


@pytest.fixture
def tagged_rows() -> list[dict[str, torch.Tensor]]:
    """Fourteen sequences with a class for most of their tokens."""
    rows = []
    for number in range(14):
        labels = _ids(9, 200 + number) % 3
        labels[: number % 4] = -100
        rows.append({"input_ids": _ids(9, number), "labels": labels})
    return rows


@pytest.fixture
def trainer(tmp_path: Path) -> Make:
    """Builds a stock Trainer on the CPU that logs every step: one epoch, batches of two, plain SGD."""
    from transformers import Trainer
    from transformers import TrainingArguments

    def make(model: Any, rows: Any, *, eval_rows: Any = None, kind: Any = Trainer, **settings: Any) -> Any:
        given = {name: settings.pop(name) for name in ("compute_loss_func", "callbacks") if name in settings}
        stock = {
            "output_dir": str(tmp_path / "run"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 4,
            "learning_rate": 0.1,
            "lr_scheduler_type": "constant",
            "optim": "sgd",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }
        args = TrainingArguments(**{**stock, **settings})
        return kind(model=model, args=args, train_dataset=rows, eval_dataset=eval_rows, **given)

    return make


@pytest.fixture
def weights() -> Callable[[Any], dict[str, torch.Tensor]]:
    """A copy of all parameters of a model."""
    return lambda model: {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture
def losses() -> Callable[[Any], list[float]]:
    """What a trainer has logged as its loss."""
    return lambda trainer: [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
