"""A model directory's tokenizer files: present, bounded, of a kind that needs no code.

Does not cover: regular expressions that take exponential time. Tokenizers are loaded inside jobs and
endpoints only, never in the service.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract.dataset.sniff import binary_kind
from deploy.contract.weights.config import MAX_VOCABULARY
from deploy.contract.weights.document import MAX_CONFIG_BYTES
from deploy.contract.weights.document import MAX_TOKENIZER_BYTES
from deploy.contract.weights.document import read_object
from deploy.contract.weights.document import read_text
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.names import SENTENCEPIECE_FILES
from deploy.contract.weights.names import TOKENIZER_TEXT_FILES

MAX_PATTERN: Final = 4096
"""Characters of one regular expression; the longest published one has some 400."""
_MODELS: Final = frozenset({"BPE", "WordPiece", "WordLevel", "Unigram"})
_SECTIONS: Final = frozenset(
    [
        "version",
        "truncation",
        "padding",
        "added_tokens",
        "normalizer",
        "pre_tokenizer",
        "post_processor",
        "decoder",
        "model",
    ]
)
_COMPLETE: Final = (
    frozenset({"tokenizer.json"}),
    frozenset({"vocab.json", "merges.txt"}),
    frozenset({"vocab.txt"}),
    *(frozenset({name}) for name in sorted(SENTENCEPIECE_FILES)),
)
_CLASS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")


def _invalid(message: str, file: str) -> ModelRefused:
    return ModelRefused("invalid_tokenizer", message, file=file)


def _check_patterns(value: Any, file: str) -> None:
    """Bound every regular expression below ``value``; :func:`read_object` has bounded its depth."""
    if isinstance(value, dict):
        pattern = value.get("Regex")
        if pattern is not None and (not isinstance(pattern, str) or len(pattern) > MAX_PATTERN):
            raise _invalid(f"a pattern is not text of up to {MAX_PATTERN} characters", file)
        for member in value.values():
            _check_patterns(member, file)
    elif isinstance(value, list):
        for member in value:
            _check_patterns(member, file)


def _check_tokenizer(document: dict[str, Any], file: str) -> None:
    extra = next((key for key in document if key not in _SECTIONS), None)
    if extra is not None:
        raise _invalid(f"has the unknown section {extra[:64]!a}", file)
    model = document.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(kind, str) or kind not in _MODELS:
        raise _invalid(f"its model is none of {', '.join(sorted(_MODELS))}", file)
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, (dict, list)) or not 1 <= len(vocabulary) <= MAX_VOCABULARY:
        raise _invalid(f"its vocabulary has not 1 to {MAX_VOCABULARY} entries", file)
    for section in ("normalizer", "pre_tokenizer", "decoder"):
        _check_patterns(document.get(section), file)


def _check_tokenizer_config(document: dict[str, Any], file: str) -> None:
    named = document.get("tokenizer_class")
    if named is not None and (not isinstance(named, str) or _CLASS.fullmatch(named) is None):
        raise _invalid("tokenizer_class is not the name of a class", file)


def _check_vocabulary(document: dict[str, Any], file: str) -> None:
    if len(document) > MAX_VOCABULARY:
        raise _invalid(f"has more than {MAX_VOCABULARY} entries", file)
    for token, number in document.items():
        if type(number) is not int or not 0 <= number <= MAX_VOCABULARY:
            raise _invalid(f"the entry {token[:64]!a} has no number from 0 to {MAX_VOCABULARY}", file)


_JSON_CHECKS: Final = {
    "tokenizer_config.json": (_check_tokenizer_config, MAX_CONFIG_BYTES << 2, True),
    "special_tokens_map.json": (None, MAX_CONFIG_BYTES, True),
    # Their members are tokens of any text, which no loader takes for an order.
    "tokenizer.json": (_check_tokenizer, MAX_TOKENIZER_BYTES, False),
    "vocab.json": (_check_vocabulary, MAX_TOKENIZER_BYTES, False),
    "added_tokens.json": (_check_vocabulary, MAX_TOKENIZER_BYTES, False),
}


def _check_sentencepiece(path: Path) -> None:
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelRefused("file_too_large", f"is larger than {MAX_TOKENIZER_BYTES} bytes", file=path.name)
    with path.open("rb") as stream:
        head = stream.read(512)
    kind = binary_kind(head)
    # A SentencePiece model is a protocol buffer that begins with its first piece (field 1, a message).
    if kind is not None or head[:1] != b"\x0a":
        raise _invalid(f"is not a SentencePiece model{f', it seems to be {kind}' if kind else ''}", path.name)


def check_tokenizer(directory: Path, names: Collection[str]) -> None:
    """Check the tokenizer files among ``names``.

    Raises:
        ModelRefused: ``missing_tokenizer``, ``invalid_tokenizer``, ``invalid_json``, ``remote_code``,
            ``file_too_large``.
    """
    if not any(complete <= set(names) for complete in _COMPLETE):
        message = (
            "there is no tokenizer: tokenizer.json, vocab.json with merges.txt, or a SentencePiece model"
        )
        raise ModelRefused("missing_tokenizer", message)
    for name, (check, limit_bytes, words) in _JSON_CHECKS.items():
        if name in names:
            document = read_object(directory / name, limit_bytes, words=words)
            if check is not None:
                check(document, name)
    for name in sorted(TOKENIZER_TEXT_FILES & set(names)):
        read_text(directory / name, MAX_TOKENIZER_BYTES)
    for name in sorted(SENTENCEPIECE_FILES & set(names)):
        _check_sentencepiece(directory / name)
