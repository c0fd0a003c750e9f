"""Configs that describe other tensors than there are."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.contract.weights import ModelRefused
from deploy.contract.weights import Tensor
from deploy.contract.weights import check_directory
from deploy.contract.weights import read_file_header
from deploy.contract.weights.shapes import check_shapes

LAYER = "model.layers.0."
BLOCK = "decoder.block.1.layer."
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 10,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
GPT2: dict[str, Any] = {"model_type": "gpt2", "vocab_size": 10, "n_embd": 8, "n_positions": 16}
T5: dict[str, Any] = {
    "model_type": "t5",
    "vocab_size": 10,
    "d_model": 8,
    "d_ff": 12,
    "d_kv": 3,
    "num_heads": 2,
}


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, dtype="F32", shape=shape, start=0, end=0)


def check(config: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    check_shapes(config, {"model.safetensors": [tensor(name, *shape)]})


@pytest.mark.parametrize(
    ("config", "name", "shape"),
    [
        (LLAMA, "model.embed_tokens.weight", (10, 8)),
        (LLAMA, "lm_head.weight", (10, 8)),
        (LLAMA, "model.norm.weight", (8,)),
        (LLAMA, LAYER + "mlp.gate_proj.weight", (12, 8)),
        (LLAMA, "model.layers.17.mlp.up_proj.weight", (12, 8)),
        (LLAMA, LAYER + "mlp.down_proj.weight", (8, 12)),
        (LLAMA, LAYER + "self_attn.q_proj.weight", (8, 8)),
        (LLAMA, LAYER + "self_attn.k_proj.weight", (4, 8)),
        (LLAMA, LAYER + "self_attn.v_proj.weight", (4, 8)),
        (LLAMA, LAYER + "self_attn.o_proj.weight", (8, 8)),
        ({**LLAMA, "head_dim": 5}, LAYER + "self_attn.q_proj.weight", (20, 8)),
        ({**LLAMA, "head_dim": 5}, LAYER + "self_attn.o_proj.weight", (8, 20)),
        ({**LLAMA, "num_key_value_heads": None}, LAYER + "self_attn.k_proj.weight", (8, 8)),
        ({**LLAMA, "model_type": "starcoder2"}, LAYER + "mlp.c_fc.weight", (12, 8)),
        (GPT2, "transformer.wte.weight", (10, 8)),
        (GPT2, "wpe.weight", (16, 8)),
        (GPT2, "h.0.mlp.c_fc.weight", (8, 32)),
        ({**GPT2, "n_inner": 9}, "h.0.mlp.c_proj.weight", (9, 8)),
        (GPT2, "h.3.attn.c_attn.weight", (8, 24)),
        (T5, "shared.weight", (10, 8)),
        (T5, BLOCK + "0.SelfAttention.q.weight", (6, 8)),
        (T5, BLOCK + "1.EncDecAttention.o.weight", (8, 6)),
        (T5, BLOCK + "2.DenseReluDense.wi.weight", (12, 8)),
        (T5, "encoder.block.0.layer.1.DenseReluDense.wi_1.weight", (12, 8)),
        (T5, BLOCK + "2.DenseReluDense.wo.weight", (8, 12)),
    ],
)
def test_b9_a_shape_is_the_configs_or_refused(
    config: dict[str, Any], name: str, shape: tuple[int, ...]
) -> None:
    check(config, name, shape)
    others = [(*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]) for axis in range(len(shape))]
    for other in [*others, (*shape, 1)]:
        with pytest.raises(ModelRefused) as caught:
            check(config, name, other)
        assert (caught.value.code, caught.value.file) == ("config_mismatch", "model.safetensors")
        assert f"tensor {name} has the shape {list(other)}" in caught.value.message
        assert f"describes {list(shape)}" in caught.value.message


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LLAMA, "model.layers.0.something.new.weight"),
        ({**LLAMA, "model_type": "bloom"}, "model.embed_tokens.weight"),
        ({**LLAMA, "intermediate_size": None}, LAYER + "mlp.up_proj.weight"),
        ({**LLAMA, "model_type": "gemma"}, LAYER + "self_attn.q_proj.weight"),
        (
            {**{k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}, "model_type": "qwen2"},
            LAYER + "self_attn.k_proj.weight",
        ),
        ({k: v for k, v in T5.items() if k != "d_kv"}, BLOCK + "0.SelfAttention.q.weight"),
    ],
)
def test_what_a_config_does_not_say_is_left_to_the_loader(config: dict[str, Any], name: str) -> None:
    check(config, name, (99, 98))


@pytest.mark.parametrize("kind", ["tiny_decoder_dir", "tiny_encoder_decoder_dir"])
def test_what_the_library_writes_is_accepted(request: pytest.FixtureRequest, kind: str) -> None:
    directory: Path = request.getfixturevalue(kind)
    config = json.loads((directory / "config.json").read_text())
    tensors = read_file_header(directory / "model.safetensors")
    check_shapes(config, {"model.safetensors": tensors})
    changed = [
        key for key in ("vocab_size", "intermediate_size", "num_attention_heads", "d_ff") if key in config
    ]
    for key in changed:
        with pytest.raises(ModelRefused):
            check_shapes({**config, key: config[key] + 1}, {"model.safetensors": tensors})
    assert len(changed) >= 2


def test_b9_a_directory_is_refused_by_its_tensor(tiny_decoder_dir: Path, tmp_path: Path) -> None:
    for path in tiny_decoder_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert check_directory(tmp_path).architecture == "decoder"
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(ModelRefused, match=r"mlp\.\w+\.weight has the shape") as caught:
        check_directory(tmp_path)
    assert (caught.value.code, caught.value.file) == ("config_mismatch", "model.safetensors")
