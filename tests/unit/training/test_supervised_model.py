"""A model as its loss: packed or padded, fused or not, it is the model's own loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import Gemma2Config
from transformers import Gemma2ForCausalLM
from transformers import GPT2Config
from transformers import GPT2LMHeadModel
from transformers import MistralConfig
from transformers import MistralForCausalLM

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from training.data.example import Example
from training.data.example import encode_rows
from training.losses import GradientMeter
from training.losses import build_loss
from training.losses import cross_entropy
from training.model import LoadedModel
from training.packed_attention import NAME
from training.packed_attention import NotPackable
from training.packed_attention import packed
from training.supervised_model import SupervisedModel

CPU = torch.device("cpu")
PLAIN = build_loss(CrossEntropyLoss(), device=CPU).at(epoch=1, step=1, total_steps=1)


def examples_of(loaded: LoadedModel, rows: list[Row]) -> tuple[Example, ...]:
    return encode_rows(loaded.tokenizer, rows, max_tokens=64).examples


def own_losses(loaded: LoadedModel, examples: tuple[Example, ...]) -> list[float]:
    """Sum of -log p over each row's completion, one row at a time through the model's public forward."""
    found = []
    for example in examples:
        if loaded.architecture == "decoder":
            ids = torch.tensor([[*example.prompt_ids, *example.completion_ids]])
            logits = loaded.model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
        else:
            inputs = torch.tensor([[loaded.start_id, *example.completion_ids[:-1]]])
            logits = loaded.model(
                input_ids=torch.tensor([example.prompt_ids]), decoder_input_ids=inputs
            ).logits[0]
        targets = torch.tensor(example.completion_ids)
        found.append(functional.cross_entropy(logits.float(), targets, reduction="sum").item())
    return found


def loss_of(supervised: SupervisedModel, examples: tuple[Example, ...], tokens: int) -> torch.Tensor:
    with supervised.running():
        loss: torch.Tensor = supervised(examples, PLAIN, tokens)
    return loss


@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_the_models_own_loss_row_by_row(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_model()
    loaded.model.eval()
    if scaled:
        # An architecture that treats its logits after the head: the fused head must notice and step aside.
        original = type(loaded.model).forward

        def forward(self: torch.nn.Module, *args: object, **kwargs: object) -> object:
            output = original(self, *args, **kwargs)
            output.logits = output.logits * 3
            return output

        monkeypatch.setattr(type(loaded.model), "forward", forward)
    supervised = SupervisedModel(loaded)
    assert supervised.layout.packed == (loaded.architecture == "decoder")
    assert not (scaled and supervised.layout.fused)
    examples = examples_of(loaded, tiny_rows[:6])
    with torch.no_grad():
        each = own_losses(loaded, examples)
        together = loss_of(supervised, examples, 1).item()
        alone = [loss_of(supervised, (example,), 1).item() for example in examples]
    assert together == pytest.approx(sum(each), rel=1e-5)
    assert alone == pytest.approx(each, rel=1e-3)


def decoder(config: Any, kind: Any, loaded: LoadedModel) -> LoadedModel:
    torch.manual_seed(0)
    model = kind(config(vocab_size=len(loaded.tokenizer)))
    return LoadedModel(
        model=model, tokenizer=loaded.tokenizer, architecture="decoder", device=CPU, parameters=1
    )


def mistral(vocab_size: int) -> MistralConfig:
    return MistralConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
    )


def gpt2(vocab_size: int) -> GPT2Config:
    return GPT2Config(vocab_size=vocab_size, n_embd=32, n_layer=2, n_head=2, n_positions=128)


def gemma2(vocab_size: int) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.5,
        attn_logit_softcapping=None,
        sliding_window=64,
    )


@pytest.mark.parametrize(
    ("config", "kind", "packs", "fuses"),
    [
        (mistral, MistralForCausalLM, True, True),
        (gpt2, GPT2LMHeadModel, True, True),
        (gemma2, Gemma2ForCausalLM, True, True),
    ],
    ids=["grouped heads and a sliding window", "learned positions", "soft-capped logits"],
)
def test_other_architectures(
    tiny_decoder_dir: Any, tiny_rows: list[Row], config: Any, kind: Any, packs: bool, fuses: bool
) -> None:
    from training.model import load_model

    loaded = decoder(config, kind, load_model(tiny_decoder_dir))
    loaded.model.eval()
    supervised = SupervisedModel(loaded)
    assert (supervised.layout.packed, supervised.layout.fused) == (packs, fuses)
    examples = examples_of(loaded, tiny_rows[:6])
    with torch.no_grad():
        own = sum(own_losses(loaded, examples))
        assert loss_of(supervised, examples, 1).item() == pytest.approx(own, rel=1e-4)


def test_gradients_are_those_of_the_plain_way(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]
) -> None:
    loaded = tiny_model()
    loaded.model.eval()
    examples = examples_of(loaded, tiny_rows[:5])
    tokens = sum(len(each.completion_ids) for each in examples)
    loss_of(SupervisedModel(loaded), examples, tokens).backward()
    ours = {name: weight.grad.clone() for name, weight in loaded.model.named_parameters()}
    loaded.model.zero_grad()
    for example in examples:
        if loaded.architecture == "decoder":
            ids = torch.tensor([[*example.prompt_ids, *example.completion_ids]])
            logits = loaded.model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
        else:
            inputs = torch.tensor([[loaded.start_id, *example.completion_ids[:-1]]])
            logits = loaded.model(
                input_ids=torch.tensor([example.prompt_ids]), decoder_input_ids=inputs
            ).logits[0]
        targets = torch.tensor(example.completion_ids)
        (functional.cross_entropy(logits, targets, reduction="sum") / tokens).backward()
    for name, weight in loaded.model.named_parameters():
        assert torch.allclose(ours[name], weight.grad, atol=1e-6, rtol=1e-3), name


def test_silent_rows_cost_nothing_and_pull_nothing(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]
) -> None:
    loaded = tiny_model()
    supervised = SupervisedModel(loaded)
    meter = GradientMeter()
    with supervised.running():
        loss = supervised(examples_of(loaded, tiny_rows[:2]), PLAIN, 7, meter, silent=True)
        loss.backward()
    assert loss.item() == 0.0
    assert meter.sums() == (0.0, 0.0)
    assert all(weight.grad is not None and not weight.grad.any() for weight in loaded.model.parameters())


def test_the_attention_is_put_back(tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]) -> None:
    loaded = tiny_model()
    before = loaded.model.config._attn_implementation
    supervised = SupervisedModel(loaded)
    with supervised.running():
        assert (loaded.model.config._attn_implementation == NAME) == supervised.layout.packed
    assert loaded.model.config._attn_implementation == before


def test_packed_attention_refuses_rows_it_was_not_told_of(tiny_decoder_dir: Any) -> None:
    from training.model import load_model

    model = load_model(tiny_decoder_dir).model
    with packed(model), pytest.raises(NotPackable, match="packed rows do not reach it"):
        model(input_ids=torch.tensor([[1, 2, 3]]))


def test_cross_entropy_of_the_models_logits_is_the_same(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]
) -> None:
    """The fused head against the loss over the logits that the model returns."""
    loaded = tiny_model()
    loaded.model.eval()
    examples = examples_of(loaded, tiny_rows[:3])
    supervised = SupervisedModel(loaded)
    tokens = sum(len(each.completion_ids) for each in examples)
    batch = supervised._batch(examples, type(supervised.layout)(packed=False, fused=False))
    with torch.no_grad():
        logits = supervised._logits(batch).flatten(0, 1).index_select(0, batch.supervised)
        whole = cross_entropy(logits, batch.targets).item()
        assert loss_of(supervised, examples, tokens).item() == pytest.approx(whole, rel=1e-5)
