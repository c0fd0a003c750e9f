"""A model's ``config.json``: what it is, whether its numbers are those of a model that exists, and a new one.

A loader never sees the file that came: it gets one that is written from the members that are known here
(:mod:`deploy.contract.weights.families`), each checked. Everything else is dropped, and named.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.weights.document import Rewritten
from deploy.contract.weights.document import check_value
from deploy.contract.weights.document import taken_of
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.families import ENCODERS
from deploy.contract.weights.families import FAMILIES
from deploy.contract.weights.families import Architecture
from deploy.contract.weights.families import Family
from deploy.contract.weights.keys import CONFIG_KEYS
from deploy.contract.weights.keys import EMBEDDING_WIDTHS
from deploy.contract.weights.keys import GENERATION_KEYS
from deploy.contract.weights.keys import INNER_WIDTHS
from deploy.contract.weights.keys import ROPE
from deploy.contract.weights.keys import ROPE_KEYS
from deploy.contract.weights.keys import WIDTHS
from deploy.contract.weights.names import CONFIG
from deploy.contract.weights.names import GENERATION_CONFIG
from deploy.contract.weights.tokenizer_settings import CLASSES

_DTYPES: Final = frozenset({"float32", "float16", "bfloat16"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_MODEL_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_MULTIMODAL: Final = ("vision_config", "audio_config", "text_config", "speech_config")
_ELSEWHERE: Final = frozenset(
    {"model_type", "architectures", "dtype", "torch_dtype", "is_encoder_decoder", "tokenizer_class", *ROPE}
)
"""Members that are not copied: they are written from what the config was recognised as."""


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


def _check_kinds(config: Mapping[str, Any]) -> None:
    if config.get("quantization_config") is not None:
        raise _invalid("quantization_config: quantised weights cannot be fine-tuned; upload them unquantised")
    for key in ("torch_dtype", "dtype"):
        value = config.get(key)
        if value is not None and (not isinstance(value, str) or value not in _DTYPES | {"auto"}):
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


def _unsupported(message: str) -> ModelRefused:
    return ModelRefused("unsupported_architecture", message, file=CONFIG)


def _architecture(config: Mapping[str, Any], model_type: str) -> Architecture:
    named = _class_name(config)
    if any(config.get(key) is not None for key in _MULTIMODAL):
        raise _unsupported("is a model of more than text")
    if model_type in ENCODERS:
        return "encoder"
    family = FAMILIES.get(model_type)
    if family is None:
        raise _unsupported(
            f"model_type {model_type} with class {named or '(none)'} is no language model known here"
        )
    if named and named not in {family.class_name, *family.also}:
        raise _unsupported(
            f"the class {named} of a {model_type} model does not write; {family.class_name} does"
        )
    if config.get("is_encoder_decoder") not in {None, family.architecture == "encoder-decoder"}:
        raise _invalid(f"is_encoder_decoder contradicts model_type {model_type}")
    return family.architecture


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
    for key, kind in CONFIG_KEYS.items():
        check_value(config.get(key), kind, key, code="invalid_config", file=CONFIG)
    _check_kinds(config)
    architecture = _architecture(config, model_type)
    vocab_size, width = _first(config, ("vocab_size",)), _first(config, WIDTHS)
    if not vocab_size or not width:
        raise _invalid(f"{'hidden_size' if vocab_size else 'vocab_size'} is missing")
    embedding = vocab_size * min(width, _first(config, EMBEDDING_WIDTHS))
    return ModelConfig(
        architecture=architecture,
        model_type=model_type,
        vocab_size=vocab_size,
        least_parameters=embedding + _first(config, INNER_WIDTHS) * width,
    )


def rewrite_config(config: Mapping[str, Any]) -> Rewritten:
    """A new ``config.json`` for a config that :func:`check_config` has accepted, of a family that writes.

    Raises:
        ModelRefused: ``invalid_config``.
    """
    model_type = str(config["model_type"])
    family = FAMILIES[model_type]
    kinds = {key: CONFIG_KEYS[key] for key in family.keys if key in CONFIG_KEYS}
    taken = taken_of(config, kinds, code="invalid_config", file=CONFIG, known=_ELSEWHERE)
    members, dropped = dict(taken.members), list(taken.dropped)
    for key in ROPE:
        value = config.get(key)
        if value is not None and key not in family.keys:
            dropped.append(f"{CONFIG}: {key}")
        elif value is not None:
            members[key] = _rope(value, key, dropped)
    named = config.get("tokenizer_class")
    if isinstance(named, str) and named in CLASSES:
        members["tokenizer_class"] = named
    elif named is not None:
        dropped.append(f"{CONFIG}: tokenizer_class")
    return Rewritten(members={**members, **_identity(config, model_type, family)}, dropped=tuple(dropped))


def _identity(config: Mapping[str, Any], model_type: str, family: Family) -> dict[str, Any]:
    dtype = config.get("dtype") or config.get("torch_dtype")
    return {
        "model_type": model_type,
        "architectures": [family.class_name],
        "is_encoder_decoder": family.architecture == "encoder-decoder",
        **({"dtype": dtype} if dtype in _DTYPES else {}),
    }


def _rope(value: Any, key: str, dropped: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{key} must be an object")
    taken = taken_of(value, ROPE_KEYS, code="invalid_config", file=CONFIG, path=f"{key}.")
    dropped.extend(taken.dropped)
    return taken.members


def rewrite_generation_config(config: Mapping[str, Any]) -> Rewritten:
    """A new ``generation_config.json``: which tokens begin and end, and nothing else.

    Raises:
        ModelRefused: ``invalid_config``.
    """
    return taken_of(config, GENERATION_KEYS, code="invalid_config", file=GENERATION_CONFIG)
