"""Whether tensors have the shapes that a config describes.

A server may load tensors that its config contradicts, and then answers with parts of them. Covers the
families whose names and shapes are standard: embeddings, and the attention and feed-forward projections
of every layer. Does not cover: other families, experts, and sizes that a config leaves to its library;
whoever loads those finds out.
"""

import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final

from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.header import Tensor
from deploy.contract.weights.keys import LAYERS
from deploy.contract.weights.names import CONFIG

Sizes = Mapping[str, int | None]
"""Of a config, by what they are; None for one that it does not say."""
Shapes = tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
"""What the dimensions of tensors with such names are."""

MAX_NAMED: Final = 5
"""Tensors that a refusal names."""
_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|h|block)\.([0-9]{1,6})\.")
_LLAMA_LIKE: Final = frozenset(
    {
        "cohere",
        "gemma",
        "gemma2",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "olmo2",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "stablelm",
        "starcoder2",
    }
)
_HEAD_IS_HIDDEN_BY_HEADS: Final = frozenset(
    {
        "cohere",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "olmo2",
        "qwen2",
        "qwen2_moe",
        "stablelm",
        "starcoder2",
    }
)
"""Families whose head_dim, where it is not given, follows; in the others it is a constant of the library."""
_KEYS_ARE_HEADS: Final = frozenset({"cohere", "granite", "llama", "olmo", "olmo2"})
"""Families where num_key_value_heads, when it is not given, is num_attention_heads."""


def _shapes(*pairs: tuple[str, tuple[str, ...]]) -> Shapes:
    return tuple((re.compile(pattern), dimensions) for pattern, dimensions in pairs)


_LLAMA: Final = _shapes(
    (r"model\.embed_tokens\.weight|lm_head\.weight", ("vocab", "hidden")),
    (r"model\.norm\.weight", ("hidden",)),
    (r"model\.layers\.\d+\.mlp\.(gate_proj|up_proj|c_fc)\.weight", ("inner", "hidden")),
    (r"model\.layers\.\d+\.mlp\.(down_proj|c_proj)\.weight", ("hidden", "inner")),
    (r"model\.layers\.\d+\.self_attn\.q_proj\.weight", ("queries", "hidden")),
    (r"model\.layers\.\d+\.self_attn\.[kv]_proj\.weight", ("keys", "hidden")),
    (r"model\.layers\.\d+\.self_attn\.o_proj\.weight", ("hidden", "queries")),
)
_GPT2: Final = _shapes(
    (r"(transformer\.)?wte\.weight|lm_head\.weight", ("vocab", "hidden")),
    (r"(transformer\.)?wpe\.weight", ("positions", "hidden")),
    # Its projections are stored the other way round.
    (r"(transformer\.)?h\.\d+\.mlp\.c_fc\.weight", ("hidden", "inner")),
    (r"(transformer\.)?h\.\d+\.mlp\.c_proj\.weight", ("inner", "hidden")),
    (r"(transformer\.)?h\.\d+\.attn\.c_attn\.weight", ("hidden", "three_hidden")),
    (r"(transformer\.)?h\.\d+\.attn\.c_proj\.weight", ("hidden", "hidden")),
)
_T5: Final = _shapes(
    (r"shared\.weight|lm_head\.weight|(en|de)coder\.embed_tokens\.weight", ("vocab", "hidden")),
    (r"(en|de)coder\.block\.\d+\.layer\.\d\.(SelfAttention|EncDecAttention)\.[qkv]\.weight", ("queries", "hidden")),
    (r"(en|de)coder\.block\.\d+\.layer\.\d\.(SelfAttention|EncDecAttention)\.o\.weight", ("hidden", "queries")),
    (r"(en|de)coder\.block\.\d+\.layer\.\d\.DenseReluDense\.wi(_[01])?\.weight", ("inner", "hidden")),
    (r"(en|de)coder\.block\.\d+\.layer\.\d\.DenseReluDense\.wo\.weight", ("hidden", "inner")),
)  # fmt: skip
_TABLES: Final[Mapping[str, Shapes]] = {
    **dict.fromkeys(_LLAMA_LIKE, _LLAMA),
    "gpt2": _GPT2,
    **dict.fromkeys(("t5", "mt5"), _T5),
}


def _llama_sizes(config: Mapping[str, Any], model_type: str) -> Sizes:
    hidden, heads, head = (config.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    keys = config.get("num_key_value_heads")
    if head is None and hidden and heads and model_type in _HEAD_IS_HIDDEN_BY_HEADS:
        head = hidden // heads
    if keys is None and ("num_key_value_heads" in config or model_type in _KEYS_ARE_HEADS):
        keys = heads
    return {
        "vocab": config.get("vocab_size"),
        "hidden": hidden,
        "inner": config.get("intermediate_size"),
        "queries": heads * head if heads and head else None,
        "keys": keys * head if keys and head else None,
    }


def _gpt2_sizes(config: Mapping[str, Any]) -> Sizes:
    hidden = config.get("n_embd")
    return {
        "vocab": config.get("vocab_size"),
        "hidden": hidden,
        "three_hidden": 3 * hidden if hidden else None,
        "inner": config.get("n_inner") or (4 * hidden if hidden else None),
        "positions": config.get("n_positions"),
    }


def _t5_sizes(config: Mapping[str, Any]) -> Sizes:
    heads, head = config.get("num_heads"), config.get("d_kv")
    return {
        "vocab": config.get("vocab_size"),
        "hidden": config.get("d_model"),
        "inner": config.get("d_ff"),
        "queries": heads * head if heads and head else None,
    }


def _sizes(config: Mapping[str, Any], model_type: str) -> Sizes:
    if model_type == "gpt2":
        return _gpt2_sizes(config)
    return _t5_sizes(config) if model_type in {"t5", "mt5"} else _llama_sizes(config, model_type)


def check_shapes(config: Mapping[str, Any], headers: Mapping[str, Iterable[Tensor]]) -> None:
    """Compare the tensors of all files with a config that :func:`check_config` has accepted.

    Raises:
        ModelRefused: ``config_mismatch``, naming the first tensors that differ, and the file of the first.
    """
    model_type = str(config["model_type"])
    table = _TABLES.get(model_type)
    if table is None:
        return
    sizes, layers = _sizes(config, model_type), _layers(config)
    found = [
        (file, said)
        for file, tensors in headers.items()
        for tensor in tensors
        if (said := _disagreement(tensor, table, sizes, layers)) is not None
    ]
    if found:
        more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        message = "; ".join(said for _, said in found[:MAX_NAMED])
        raise ModelRefused("config_mismatch", message + more, file=found[0][0])


def _layers(config: Mapping[str, Any]) -> int | None:
    """How many layers a config describes, where all of them are counted by one number."""
    counts = {value for key in LAYERS if isinstance(value := config.get(key), int)}
    return counts.pop() if len(counts) == 1 else None


def _disagreement(tensor: Tensor, table: Shapes, sizes: Sizes, layers: int | None) -> str | None:
    layer = _LAYER.search(tensor.name)
    if layers is not None and layer is not None and int(layer[1]) >= layers:
        return f"tensor {tensor.name} is of layer {int(layer[1]) + 1}, {CONFIG} describes {layers}"
    wanted = _wanted(tensor.name, table, sizes)
    if wanted is None or wanted == tensor.shape:
        return None
    return f"tensor {tensor.name} has the shape {list(tensor.shape)}, {CONFIG} describes {list(wanted)}"


def _wanted(name: str, table: Shapes, sizes: Sizes) -> tuple[int, ...] | None:
    for pattern, dimensions in table:
        if pattern.fullmatch(name) is not None:
            shape = tuple(size for each in dimensions if (size := sizes[each]) is not None)
            return shape if len(shape) == len(dimensions) else None
    return None
