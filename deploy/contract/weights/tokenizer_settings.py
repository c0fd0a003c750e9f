"""``tokenizer_config.json`` and ``special_tokens_map.json``, written anew from the members that are known.

Two things are never copied: a chat template, which is a program, and ``split_special_tokens``, which is always set.
A control token that stands in a text is text: nobody who writes a row or a prompt may end a turn with it.
"""

from collections.abc import Mapping
from typing import Any
from typing import Final

from deploy.contract.weights.document import Rewritten
from deploy.contract.weights.document import taken_of
from deploy.contract.weights.keys import MAX_VOCABULARY
from deploy.contract.weights.kinds import MAX_TOKEN_CHARS
from deploy.contract.weights.kinds import Either
from deploy.contract.weights.kinds import Flag
from deploy.contract.weights.kinds import Kind
from deploy.contract.weights.kinds import Number
from deploy.contract.weights.kinds import Record
from deploy.contract.weights.kinds import Several
from deploy.contract.weights.kinds import Table
from deploy.contract.weights.kinds import Text
from deploy.contract.weights.kinds import Whole
from deploy.contract.weights.kinds import Word

TOKENIZER_CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS_MAP: Final = "special_tokens_map.json"
MAX_ADDED: Final = 10_000
"""Of added tokens; the families with the most have some 1,000."""
_FAST: Final = (
    "Bart",
    "Blenderbot",
    "Bloom",
    "CodeGen",
    "CodeLlama",
    "Cohere",
    "GPT2",
    "GPTNeoX",
    "Gemma",
    "Llama",
    "M2M100",
    "MBart",
    "MBart50",
    "MT5",
    "Marian",
    "PLBart",
    "Pegasus",
    "Qwen2",
    "Roberta",
    "T5",
)
CLASSES: Final = frozenset(
    [
        "PreTrainedTokenizer",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
        "SentencePieceBackend",
        *(f"{name}Tokenizer" for name in _FAST),
        *(f"{name}TokenizerFast" for name in _FAST),
    ]
)
"""All of them the library's own."""
_TEXT: Final = Text(MAX_TOKEN_CHARS)
_FLAG: Final = Flag()
_TOKEN: Final = Either(
    _TEXT,
    Record(
        {
            "__type": Word(frozenset({"AddedToken"})),
            "content": _TEXT,
            "id": Whole(0, MAX_VOCABULARY),
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), _FLAG),
        },
        needed=frozenset({"content"}),
    ),
)
_TOKENS: Final = Either(Several(_TOKEN, MAX_ADDED), Table(_TOKEN, MAX_ADDED))
_SPECIAL: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"), _TOKEN
    ),
    **dict.fromkeys(("additional_special_tokens", "extra_special_tokens"), _TOKENS),
}
_SIDE: Final = Word(frozenset({"left", "right"}))
_INPUTS: Final = Word(frozenset({"input_ids", "attention_mask", "token_type_ids"}))
_LANGUAGE: Final = Text(32)
_SETTINGS: Final[Mapping[str, Kind]] = {
    **_SPECIAL,
    "added_tokens_decoder": Table(_TOKEN, MAX_ADDED),
    "tokenizer_class": Word(CLASSES),
    "backend": Word(frozenset({"tokenizers", "sentencepiece"})),
    "model_max_length": Number(0.0, 1e31),
    "extra_ids": Whole(0, MAX_ADDED),
    "errors": Word(frozenset({"replace", "strict", "ignore"})),
    **dict.fromkeys(("padding_side", "truncation_side"), _SIDE),
    "model_input_names": Several(_INPUTS, 3),
    **dict.fromkeys(("src_lang", "tgt_lang", "source_lang", "target_lang", "language_codes"), _LANGUAGE),
    **dict.fromkeys(
        (
            "add_bos_token",
            "add_eos_token",
            "add_prefix_space",
            "clean_up_tokenization_spaces",
            "do_lower_case",
            "keep_accents",
            "legacy",
            "spaces_between_special_tokens",
            "trim_offsets",
        ),
        _FLAG,
    ),
}
_OURS: Final = frozenset({"split_special_tokens"})


def rewrite_tokenizer_config(settings: Mapping[str, Any]) -> Rewritten:
    """A new ``tokenizer_config.json``; of an empty one where there was none.

    Raises:
        ModelRefused: ``invalid_tokenizer``, naming the member.
    """
    taken = taken_of(settings, _SETTINGS, code="invalid_tokenizer", file=TOKENIZER_CONFIG, known=_OURS)
    return Rewritten(members={**taken.members, "split_special_tokens": True}, dropped=taken.dropped)


def rewrite_special_tokens(tokens: Mapping[str, Any]) -> Rewritten:
    """A new ``special_tokens_map.json``.

    Raises:
        ModelRefused: ``invalid_tokenizer``, naming the member.
    """
    return taken_of(tokens, _SPECIAL, code="invalid_tokenizer", file=SPECIAL_TOKENS_MAP)
