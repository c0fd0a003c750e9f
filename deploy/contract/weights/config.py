"""A model's ``config.json``: what it is, and whether its numbers are those of a model that exists."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Literal

from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.names import CONFIG

Architecture = Literal["decoder", "encoder-decoder", "encoder"]

MAX_VOCABULARY: Final = 2_000_000
"""The largest published vocabularies have some 260,000 entries."""
_WIDTHS: Final = ("hidden_size", "d_model", "n_embd", "n_embed", "dim")
_EMBEDDING_WIDTHS: Final = ("embedding_size", "word_embed_proj_dim", *_WIDTHS)
_INNER_WIDTHS: Final = (
    "intermediate_size",
    "d_ff",
    "ffn_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "n_inner",
)
_LAYERS: Final = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "n_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
_HEADS: Final = (
    "num_attention_heads",
    "num_heads",
    "n_head",
    "num_key_value_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
_BOUNDS: Final[Mapping[str, int]] = {
    "vocab_size": MAX_VOCABULARY,
    **dict.fromkeys(_EMBEDDING_WIDTHS, 1 << 16),
    **dict.fromkeys(_INNER_WIDTHS, 1 << 20),
    **dict.fromkeys(_LAYERS, 1000),
    **dict.fromkeys(_HEADS, 4096),
    **dict.fromkeys(("head_dim", "d_kv"), 1 << 14),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "sliding_window"), 1 << 24),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"), 1 << 14),
    "type_vocab_size": 1 << 16,
    "relative_attention_num_buckets": 1 << 16,
    "pad_token_id": MAX_VOCABULARY,
    "decoder_start_token_id": MAX_VOCABULARY,
}
"""Largest value of each size; an order of magnitude above the largest published models."""
_MAY_BE_ZERO: Final = frozenset(
    {"type_vocab_size", "pad_token_id", "decoder_start_token_id", "num_experts", "num_local_experts"}
)
_MINUS_ONE_IS_NONE: Final = frozenset({"pad_token_id", "sliding_window"})
_POSITIVE: Final = ("rope_theta", "layer_norm_eps", "rms_norm_eps", "layer_norm_epsilon")
_DTYPES: Final = frozenset({"float32", "float16", "bfloat16", "auto"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_MODEL_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

_ENCODERS: Final = frozenset(
    [
        "albert",
        "bert",
        "camembert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "esm",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    ]
)
_ENCODER_DECODERS: Final = frozenset(
    [
        "bart",
        "blenderbot",
        "longt5",
        "m2m_100",
        "marian",
        "mbart",
        "mt5",
        "pegasus",
        "plbart",
        "switch_transformers",
        "t5",
        "umt5",
    ]
)
_DECODERS: Final = frozenset(
    [
        "bloom",
        "codegen",
        "cohere",
        "falcon",
        "gemma",
        "gemma2",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "olmo2",
        "opt",
        "phi",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "stablelm",
        "starcoder2",
    ]
)
_MULTIMODAL: Final = ("vision_config", "audio_config", "text_config", "speech_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What the rest of the system needs to know of a config."""

    architecture: Architecture
    model_type: str
    vocab_size: int
    least_parameters: int
    """No model with this config has fewer weights: its embedding and one inner layer."""


def _invalid(message: str) -> ModelRefused:
    return ModelRefused("invalid_config", message, file=CONFIG)


def _check_sizes(config: Mapping[str, Any]) -> None:
    for key, largest in _BOUNDS.items():
        value = config.get(key)
        if value is None or (value == -1 and key in _MINUS_ONE_IS_NONE):
            continue
        least = 0 if key in _MAY_BE_ZERO else 1
        if type(value) is not int or not least <= value <= largest:
            raise _invalid(f"{key} must be a whole number from {least} to {largest}, not {ascii(value)[:40]}")
    for key in _POSITIVE:
        value = config.get(key)
        if value is not None and (type(value) not in {int, float} or value <= 0):
            raise _invalid(f"{key} must be a number above 0, not {ascii(value)[:40]}")


def _check_kinds(config: Mapping[str, Any]) -> None:
    if config.get("quantization_config") is not None:
        raise _invalid("quantization_config: quantised weights cannot be fine-tuned; upload them unquantised")
    for key in ("torch_dtype", "dtype"):
        value = config.get(key)
        if value is not None and (not isinstance(value, str) or value not in _DTYPES):
            raise _invalid(f"{key} must be one of {', '.join(sorted(_DTYPES))}, not {ascii(value)[:40]}")


def _class_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if names is None:
        return ""
    if not isinstance(names, list) or len(names) > 8 or not all(_is_identifier(name) for name in names):
        raise _invalid("architectures must be a list of class names")
    return str(names[0]) if names else ""


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def _architecture(config: Mapping[str, Any], model_type: str) -> Architecture:
    named = _class_name(config)
    if any(config.get(key) is not None for key in _MULTIMODAL):
        raise ModelRefused("unsupported_architecture", "is a model of more than text", file=CONFIG)
    if config.get("is_encoder_decoder") is True or model_type in _ENCODER_DECODERS:
        return "encoder-decoder"
    if model_type in _ENCODERS or named.endswith("ForMaskedLM"):
        return "encoder"
    if model_type in _DECODERS or named.endswith(("ForCausalLM", "LMHeadModel")):
        return "decoder"
    message = f"model_type {model_type} with class {named or '(none)'} is no language model known here"
    raise ModelRefused("unsupported_architecture", message, file=CONFIG)


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((value for key in keys if isinstance(value := config.get(key), int)), 0)


def check_config(config: Mapping[str, Any]) -> ModelConfig:
    """What a parsed ``config.json`` describes.

    Raises:
        ModelRefused: ``invalid_config`` or ``unsupported_architecture``.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or _MODEL_TYPE.fullmatch(model_type) is None:
        raise _invalid("model_type is missing or no name")
    _check_sizes(config)
    _check_kinds(config)
    architecture = _architecture(config, model_type)
    vocab_size, width = _first(config, ("vocab_size",)), _first(config, _WIDTHS)
    if not vocab_size or not width:
        raise _invalid(f"{'hidden_size' if vocab_size else 'vocab_size'} is missing")
    embedding = vocab_size * min(width, _first(config, _EMBEDDING_WIDTHS))
    return ModelConfig(
        architecture=architecture,
        model_type=model_type,
        vocab_size=vocab_size,
        least_parameters=embedding + _first(config, _INNER_WIDTHS) * width,
    )
