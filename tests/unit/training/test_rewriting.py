"""Rewritten models against the real library: what was known is loaded alike, what was not is never seen."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.contract.weights import check_directory
from deploy.contract.weights.families import FAMILIES

SMALL: Mapping[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "intermediate_size": 48,
    "d_ff": 48,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layer": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_attention_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "num_key_value_heads": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "head_dim": 8,
    "d_kv": 8,
    "rotary_dim": 4,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "attention_types": [[["global", "local"], 1]],
    "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 1,
    "expert_capacity": 8,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
    # Away from the library's defaults, so that dropping one would be seen.
    "rope_theta": 5000.0,
    "layer_norm_epsilon": 1e-3,
    "layer_norm_eps": 1e-3,
    "rms_norm_eps": 1e-3,
    "norm_epsilon": 1e-3,
    "sliding_window": 4,
}
HOSTILE: Mapping[str, Any] = {
    "auto_map": {"AutoModelForCausalLM": "tripwire.Model", "AutoConfig": "tripwire.Config"},
    "_attn_implementation_internal": "someone/kernels",
    "attn_implementation": "someone/kernels",
    "experts_implementation": "someone/kernels",
    "trust_remote_code": True,
    "sub_configs": {"text_config": {"auto_map": {"AutoConfig": "tripwire.Config"}}},
    "task_specific_params": {"x": {"auto_map": 1}},
    "use_kernels": True,
}


def made(model_type: str, directory: Path, **more: Any) -> None:
    """A tiny model of a family with random weights, as the library itself saves it."""
    from transformers import CONFIG_MAPPING
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSeq2SeqLM

    family = FAMILIES[model_type]
    kind = CONFIG_MAPPING[model_type]
    of_the_class = set(vars(kind()))
    config = kind(
        **{
            key: value for key, value in SMALL.items() if key in family.keys & (of_the_class | {"rope_theta"})
        },
        **more,
    )
    torch.manual_seed(0)
    maker = AutoModelForCausalLM if family.architecture == "decoder" else AutoModelForSeq2SeqLM
    model = maker.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(directory)


def with_tokenizer(directory: Path, source: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, directory)


def logits(directory: Path) -> torch.Tensor:
    from training.model import load_model

    loaded = load_model(directory)
    ids = torch.tensor([[5, 9, 200, 31, 7, 250, 8, 11]])
    more = {"decoder_input_ids": ids[:, :5]} if loaded.architecture == "encoder-decoder" else {}
    with torch.no_grad():
        return loaded.model.eval()(input_ids=ids, **more).logits  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")  # the libraries' own, about sizes as small as these
@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=[] if name in {"llama", "gpt2", "t5", "qwen2"} else [pytest.mark.slow])
        for name in FAMILIES
    ],
)
def test_b7_a_rewritten_model_computes_the_same(
    model_type: str, tiny_decoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "model"
    made(model_type, directory)
    with_tokenizer(directory, tiny_decoder_dir)
    before = logits(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **HOSTILE}))
    (tmp_path / "tripwire.py").write_text("raise SystemExit('foreign code was imported')")
    (directory / "chat_template.jinja").write_text("{% for i in range(99999999) %}{% endfor %}")
    monkeypatch.syspath_prepend(tmp_path)
    checked = check_directory(directory, rewritten=directory)
    assert {f"config.json: {name}" for name in HOSTILE} <= set(checked.dropped)
    assert "chat_template.jinja" in checked.dropped
    ours = json.loads((directory / "config.json").read_text())
    assert not HOSTILE.keys() & ours.keys()
    assert not (directory / "chat_template.jinja").exists()
    assert torch.equal(logits(directory), before)
    assert "tripwire" not in sys.modules


@pytest.mark.parametrize("model_type", ["t5", "longt5"])
def test_b7_the_second_edition_of_t5_computes_the_same(
    model_type: str, tiny_decoder_dir: Path, tmp_path: Path
) -> None:
    """Its classes turn ``tie_word_embeddings: false`` into another member, and save only that one."""
    made(model_type, tmp_path / "first", tie_word_embeddings=True)
    made(model_type, tmp_path / "second", tie_word_embeddings=False)
    before = {}
    for name in ("first", "second"):
        with_tokenizer(tmp_path / name, tiny_decoder_dir)
        before[name] = logits(tmp_path / name)
        check_directory(tmp_path / name, rewritten=tmp_path / name)
        assert torch.equal(logits(tmp_path / name), before[name])
    assert not torch.equal(before["first"], before["second"])
