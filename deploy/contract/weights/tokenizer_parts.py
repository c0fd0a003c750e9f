"""The parts that a ``tokenizer.json`` may be made of, and the members of each.

A part or a member that is not listed is refused: dropping it would make another tokenizer of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from typing import Final

from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.keys import MAX_VOCABULARY
from deploy.contract.weights.kinds import MAX_TOKEN_CHARS
from deploy.contract.weights.kinds import Flag
from deploy.contract.weights.kinds import Kind
from deploy.contract.weights.kinds import Pair
from deploy.contract.weights.kinds import Record
from deploy.contract.weights.kinds import Several
from deploy.contract.weights.kinds import Table
from deploy.contract.weights.kinds import Text
from deploy.contract.weights.kinds import Whole
from deploy.contract.weights.kinds import Word
from deploy.contract.weights.patterns import PATTERNS

MAX_PARTS: Final = 32
"""Of one sequence; the longest published one has eight."""
MAX_PART_NESTING: Final = 4
_TEXT: Final = Text(MAX_TOKEN_CHARS)
_NUMBER: Final = Whole(0, MAX_VOCABULARY)
_FLAG: Final = Flag()
_BEHAVIOR: Final = Word(
    frozenset({"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"})
)
_SCHEME: Final = Word(frozenset({"first", "never", "always"}))
_TOKEN_AND_NUMBER: Final = Pair(_TEXT, _NUMBER)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A plain text, or a regular expression of a published family."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        if not isinstance(value, dict) or len(value) != 1:
            return False
        if "Regex" in value:
            return isinstance(value["Regex"], str) and value["Regex"] in PATTERNS
        return "String" in value and _TEXT.fits(value["String"])

    def __str__(self) -> str:
        """What it must be, in words."""
        return "a plain String, or the Regex of a published tokenizer"


_PATTERN: Final = _Pattern()
_PIECE: Final = Record(
    {
        "Sequence": Record({"id": Word(frozenset("AB")), "type_id": _NUMBER}),
        "SpecialToken": Record({"id": _TEXT, "type_id": _NUMBER}),
    }
)
_TEMPLATE: Final = Several(_PIECE, MAX_PARTS)
_TEMPLATE_TOKEN: Final = Record(
    {"id": _TEXT, "ids": Several(_NUMBER, MAX_PARTS), "tokens": Several(_TEXT, MAX_PARTS)}
)
_BYTE_LEVEL: Final[Mapping[str, Kind]] = {
    "add_prefix_space": _FLAG,
    "trim_offsets": _FLAG,
    "use_regex": _FLAG,
}
_METASPACE: Final[Mapping[str, Kind]] = {
    "replacement": _TEXT,
    "str_rep": _TEXT,
    "add_prefix_space": _FLAG,
    "prepend_scheme": _SCHEME,
    "split": _FLAG,
}

Parts = Mapping[str, Mapping[str, Kind]]
_NOTHING: Final[Mapping[str, Kind]] = MappingProxyType({})
_NORMALIZERS: Final[Parts] = {
    **dict.fromkeys(
        ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"), _NOTHING
    ),
    "Strip": {"strip_left": _FLAG, "strip_right": _FLAG},
    "Prepend": {"prepend": _TEXT},
    "Replace": {"pattern": _PATTERN, "content": _TEXT},
    "Precompiled": {"precompiled_charsmap": Text(4 << 20)},
    "BertNormalizer": {
        "clean_text": _FLAG,
        "handle_chinese_chars": _FLAG,
        "strip_accents": _FLAG,
        "lowercase": _FLAG,
    },
}
_PRE_TOKENIZERS: Final[Parts] = {
    **dict.fromkeys(("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"), _NOTHING),
    "ByteLevel": _BYTE_LEVEL,
    "Metaspace": _METASPACE,
    "Split": {"pattern": _PATTERN, "behavior": _BEHAVIOR, "invert": _FLAG},
    "Digits": {"individual_digits": _FLAG},
    "Punctuation": {"behavior": _BEHAVIOR},
    "CharDelimiterSplit": {"delimiter": Text(1)},
    "FixedLength": {"length": Whole(1, 4096)},
}
_PROCESSORS: Final[Parts] = {
    "ByteLevel": _BYTE_LEVEL,
    "BertProcessing": {"sep": _TOKEN_AND_NUMBER, "cls": _TOKEN_AND_NUMBER},
    "RobertaProcessing": {
        "sep": _TOKEN_AND_NUMBER,
        "cls": _TOKEN_AND_NUMBER,
        "trim_offsets": _FLAG,
        "add_prefix_space": _FLAG,
    },
    "TemplateProcessing": {
        "single": _TEMPLATE,
        "pair": _TEMPLATE,
        "special_tokens": Table(_TEMPLATE_TOKEN, MAX_PARTS),
    },
}
_DECODERS: Final[Parts] = {
    **dict.fromkeys(("ByteFallback", "Fuse"), _NOTHING),
    "ByteLevel": _BYTE_LEVEL,
    "Metaspace": _METASPACE,
    "Replace": {"pattern": _PATTERN, "content": _TEXT},
    "Strip": {"content": Text(1), "start": _NUMBER, "stop": _NUMBER},
    "WordPiece": {"prefix": _TEXT, "cleanup": _FLAG},
    "BPEDecoder": {"suffix": _TEXT},
}
SECTIONS: Final[Mapping[str, tuple[str, Parts]]] = {
    "normalizer": ("normalizers", _NORMALIZERS),
    "pre_tokenizer": ("pretokenizers", _PRE_TOKENIZERS),
    "post_processor": ("processors", _PROCESSORS),
    "decoder": ("decoders", _DECODERS),
}
"""Of each section, what its Sequence calls its parts, and the parts."""


def check_part(value: Any, section: str, *, file: str, depth: int = 1) -> None:
    """Check what a section of a ``tokenizer.json`` holds: null, a part, or a Sequence of parts.

    Raises:
        ModelRefused: ``invalid_tokenizer``, naming the part and the member.
    """
    if value is None:
        return
    members, parts = SECTIONS[section]
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Sequence" and depth < MAX_PART_NESTING:
        listed = value.get(members)
        if value.keys() != {"type", members} or not isinstance(listed, list) or len(listed) > MAX_PARTS:
            raise _invalid(f"{section}: a Sequence has a list of up to {MAX_PARTS} {members}", file)
        for each in listed:
            check_part(each, section, file=file, depth=depth + 1)
        return
    if not isinstance(kind, str) or kind not in parts:
        raise _invalid(f"{section}: {ascii(kind)[:40]} is none of {', '.join(parts)}", file)
    for key, member in value.items():
        if key == "type" or (member is None and key in parts[kind]):
            continue
        if key not in parts[kind]:
            raise _invalid(f"{section}: {kind} has the unknown member {ascii(key)[1:-1][:64]}", file)
        if not parts[kind][key].fits(member):
            said = f"{section}: {kind}.{key} must be {parts[kind][key]}, not {ascii(member)[:200]}"
            raise _invalid(said, file)


def _invalid(message: str, file: str) -> ModelRefused:
    return ModelRefused("invalid_tokenizer", message, file=file)
