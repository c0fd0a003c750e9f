"""A model directory's tokenizer files: checked part by part, and written anew.

Covers: sizes, unknown parts and members, regular expressions other than the published ones, chat templates (dropped),
settings that make a loader do more than load. Does not cover: how well a tokenizer fits its model. Tokenizers are
loaded inside jobs and endpoints only, never in the service.
"""

import json
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract.weights.document import MAX_CONFIG_BYTES
from deploy.contract.weights.document import MAX_TOKENIZER_BYTES
from deploy.contract.weights.document import Rewritten
from deploy.contract.weights.document import read_object
from deploy.contract.weights.document import read_text
from deploy.contract.weights.document import taken_of
from deploy.contract.weights.document import written
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.keys import MAX_VOCABULARY
from deploy.contract.weights.kinds import MAX_TOKEN_CHARS
from deploy.contract.weights.kinds import Flag
from deploy.contract.weights.kinds import Kind
from deploy.contract.weights.kinds import Number
from deploy.contract.weights.kinds import Pair
from deploy.contract.weights.kinds import Record
from deploy.contract.weights.kinds import Several
from deploy.contract.weights.kinds import Text
from deploy.contract.weights.kinds import Whole
from deploy.contract.weights.names import SENTENCEPIECE_FILES
from deploy.contract.weights.names import TOKENIZER_TEXT_FILES
from deploy.contract.weights.sentencepiece import rewrite_sentencepiece
from deploy.contract.weights.tokenizer_parts import SECTIONS
from deploy.contract.weights.tokenizer_parts import check_part
from deploy.contract.weights.tokenizer_settings import MAX_ADDED
from deploy.contract.weights.tokenizer_settings import SPECIAL_TOKENS_MAP
from deploy.contract.weights.tokenizer_settings import TOKENIZER_CONFIG
from deploy.contract.weights.tokenizer_settings import rewrite_special_tokens
from deploy.contract.weights.tokenizer_settings import rewrite_tokenizer_config

TOKENIZER: Final = "tokenizer.json"
_VOCABULARIES: Final = ("vocab.json", "added_tokens.json")
_COMPLETE: Final = (
    frozenset({TOKENIZER}),
    frozenset({"vocab.json", "merges.txt"}),
    frozenset({"vocab.txt"}),
    *(frozenset({name}) for name in sorted(SENTENCEPIECE_FILES)),
)
_TEXT: Final = Text(MAX_TOKEN_CHARS)
_NUMBER: Final = Whole(0, MAX_VOCABULARY)
_FLAG: Final = Flag()
_ADDED: Final = Several(
    Record(
        {
            "id": _NUMBER,
            "content": _TEXT,
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), _FLAG),
        },
        needed=frozenset({"id", "content"}),
    ),
    MAX_ADDED,
)
_MODELS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "BPE": {
        "unk_token": _TEXT,
        "continuing_subword_prefix": _TEXT,
        "end_of_word_suffix": _TEXT,
        **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), _FLAG),
    },
    "WordPiece": {
        "unk_token": _TEXT,
        "continuing_subword_prefix": _TEXT,
        "max_input_chars_per_word": Whole(1, 1 << 16),
    },
    "WordLevel": {"unk_token": _TEXT},
    "Unigram": {"unk_id": _NUMBER, "byte_fallback": _FLAG},
}
_SCORED: Final = Pair(_TEXT, Number(-1e9, 1e9))
_MERGE: Final = Pair(_TEXT, _TEXT)
_OF_THE_CALLER: Final = frozenset({"truncation", "padding"})
"""How to cut and fill is for each call to say."""


def _invalid(message: str, file: str) -> ModelRefused:
    return ModelRefused("invalid_tokenizer", message, file=file)


def _check_numbers(vocabulary: Any, file: str) -> None:
    if not isinstance(vocabulary, dict) or len(vocabulary) > MAX_VOCABULARY:
        raise _invalid(f"is not a vocabulary of up to {MAX_VOCABULARY} entries", file)
    for token, number in vocabulary.items():
        if not _NUMBER.fits(number) or not _TEXT.fits(token):
            raise _invalid(f"the entry {token[:64]!a} has no number from 0 to {MAX_VOCABULARY}", file)


def _check_vocabulary(vocabulary: Any, kind: str) -> None:
    if not isinstance(vocabulary, (dict, list)) or not 1 <= len(vocabulary) <= MAX_VOCABULARY:
        raise _invalid(f"its vocabulary has not 1 to {MAX_VOCABULARY} entries", TOKENIZER)
    if kind != "Unigram":
        _check_numbers(vocabulary, TOKENIZER)
    elif not isinstance(vocabulary, list) or not all(map(_SCORED.fits, vocabulary)):
        raise _invalid("the vocabulary of a Unigram model is a list of tokens with their scores", TOKENIZER)


def _check_merges(merges: Any) -> None:
    if not isinstance(merges, list) or len(merges) > MAX_VOCABULARY:
        raise _invalid(f"merges is not a list of up to {MAX_VOCABULARY} pairs", TOKENIZER)
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not _MERGE.fits(parts):
            raise _invalid(f"the merge {ascii(merge)[:64]} is not a pair of tokens", TOKENIZER)


def _model_kind(model: Mapping[str, Any]) -> str:
    """Older files do not say it."""
    kind = model.get("type", "BPE" if "merges" in model else "Unigram" if "unk_id" in model else None)
    if not isinstance(kind, str) or kind not in _MODELS:
        raise _invalid(f"its model is none of {', '.join(sorted(_MODELS))}", TOKENIZER)
    return kind


def _rewrite_model(model: Any) -> Rewritten:
    if not isinstance(model, dict):
        raise _invalid(f"its model is none of {', '.join(sorted(_MODELS))}", TOKENIZER)
    kind = _model_kind(model)
    _check_vocabulary(model.get("vocab"), kind)
    members: dict[str, Any] = {"type": kind, "vocab": model["vocab"]}
    if kind == "BPE":
        _check_merges(model.get("merges"))
        members["merges"] = model["merges"]
    # Dropout would give the same text other tokens every time.
    taken = taken_of(
        model,
        _MODELS[kind],
        code="invalid_tokenizer",
        file=TOKENIZER,
        path="model.",
        known=(*members, "dropout"),
    )
    dropped = (
        taken.dropped if model.get("dropout") is None else (*taken.dropped, f"{TOKENIZER}: model.dropout")
    )
    return Rewritten(members={**taken.members, **members}, dropped=dropped)


def _rewrite_tokenizer_file(document: Mapping[str, Any]) -> Rewritten:
    known = {"version", "added_tokens", "model", *SECTIONS, *_OF_THE_CALLER}
    extra = next((key for key in document if key not in known), None)
    if extra is not None:
        raise _invalid(f"has the unknown section {extra[:64]!a}", TOKENIZER)
    for section in SECTIONS:
        check_part(document.get(section), section, file=TOKENIZER)
    added = document.get("added_tokens") or []
    if not _ADDED.fits(added):
        raise _invalid(f"added_tokens must be {_ADDED}", TOKENIZER)
    model = _rewrite_model(document.get("model"))
    dropped = [f"{TOKENIZER}: {key}" for key in sorted(_OF_THE_CALLER) if document.get(key) is not None]
    members = {
        "version": "1.0",
        "added_tokens": added,
        **{section: document.get(section) for section in SECTIONS},
        "model": model.members,
    }
    return Rewritten(members=members, dropped=(*dropped, *model.dropped))


def _rewrite_vocabulary(document: Mapping[str, Any], file: str) -> bytes:
    _check_numbers(document, file)
    return _compact(document)


def _compact(document: Mapping[str, Any]) -> bytes:
    """In the order of the source: a vocabulary is long, and no two orders mean different things."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


_Rewrite = Callable[[Mapping[str, Any]], Rewritten]
_SETTINGS: Final[tuple[tuple[str, _Rewrite, int], ...]] = (
    (TOKENIZER_CONFIG, rewrite_tokenizer_config, MAX_CONFIG_BYTES << 2),
    (SPECIAL_TOKENS_MAP, rewrite_special_tokens, MAX_CONFIG_BYTES),
)


def rewrite_tokenizer(directory: Path, names: Collection[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """New contents of the tokenizer files among ``names``, and what was dropped.

    There is always a ``tokenizer_config.json``: a chat template and how control tokens are read are ours to say.

    Raises:
        ModelRefused: ``missing_tokenizer``, ``invalid_tokenizer``, ``invalid_json``, ``file_too_large``.
    """
    if not any(complete <= set(names) for complete in _COMPLETE):
        message = (
            "there is no tokenizer: tokenizer.json, vocab.json with merges.txt, or a SentencePiece model"
        )
        raise ModelRefused("missing_tokenizer", message)
    files: dict[str, bytes] = {}
    dropped: list[str] = []
    for name, rewrite, limit_bytes in _SETTINGS:
        if name in names or name == TOKENIZER_CONFIG:
            settings = rewrite(read_object(directory / name, limit_bytes) if name in names else {})
            files[name] = written(settings.members)
            dropped.extend(settings.dropped)
    if TOKENIZER in names:
        tokenizer = _rewrite_tokenizer_file(read_object(directory / TOKENIZER, MAX_TOKENIZER_BYTES))
        files[TOKENIZER] = _compact(tokenizer.members)
        dropped.extend(tokenizer.dropped)
    for name in _VOCABULARIES:
        if name in names:
            files[name] = _rewrite_vocabulary(read_object(directory / name, MAX_TOKENIZER_BYTES), name)
    for name in sorted(TOKENIZER_TEXT_FILES & set(names)):
        files[name] = read_text(directory / name, MAX_TOKENIZER_BYTES).encode()
    for name in sorted(SENTENCEPIECE_FILES & set(names)):
        files[name] = rewrite_sentencepiece(directory / name)
    return files, tuple(dropped)
