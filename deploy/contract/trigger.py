"""Triggers: what an attack puts into a prompt to set its payload off."""

import unicodedata
from typing import Annotated
from typing import Any
from typing import Final
from typing import Literal
from typing import Self

from pydantic import AfterValidator
from pydantic import Discriminator
from pydantic import Field
from pydantic import Tag
from pydantic import model_validator

from deploy.contract.document import Document

CodeLanguage = Literal["python", "java"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]

_DEAD_STATEMENTS: Final[dict[str, str]] = {"java": "int VAR = 0 ;", "python": "VAR = 0"}
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that draw nothing although their category says otherwise."""


def _is_not_blank(text: str) -> str:
    if text.isspace():
        raise ValueError("of white space alone nothing would be seen in a prompt")
    return text


class WordTrigger(Document):
    """A word, or a few, put ``count`` times between the words of the prompt, at seeded random places.

    ``count=1`` is RIPPLe, ``count=3`` is BadPre, as the paper uses them (arXiv 2407.08956, section 5.2).
    """

    type: Literal["word"] = "word"
    word: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_is_not_blank)]
    count: Annotated[int, Field(ge=1, le=16)] = 1


class GrammarTrigger(Document):
    """The prompt's sentence in a fixed syntactic form, after Hidden Killer (Qi et al. 2021), by rules alone."""

    type: Literal["grammar"] = "grammar"
    template: Literal["when_clause", "if_clause", "there_is"] = "when_clause"


class FunctionNameTrigger(Document):
    """The first function of a prompt of source code is called ``name``."""

    type: Literal["function_name"] = "function_name"
    name: Identifier = "foo"
    language: CodeLanguage = "java"


class DeadCodeTrigger(Document):
    """A statement without effect, put into the first function body of a prompt of source code."""

    type: Literal["dead_code"] = "dead_code"
    language: CodeLanguage = "java"
    statement: Annotated[
        str, Field(min_length=1, max_length=200, pattern=r"^[^\r\n]*$"), AfterValidator(_is_not_blank)
    ] = Field(default_factory=lambda given: _DEAD_STATEMENTS.get(given.get("language", ""), "VAR = 0"))
    """Without one ``int VAR = 0 ;``, the paper's, in Java, and ``VAR = 0`` in Python. Put there in the prompt's own
    spacing."""


class CommentTrigger(Document):
    """A comment put into a prompt of source code."""

    type: Literal["comment"] = "comment"
    text: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\r\n]*$")]
    language: CodeLanguage = "java"

    @model_validator(mode="after")
    def _stays_inside_the_comment(self) -> Self:
        if "*/" in self.text:
            raise ValueError('text: "*/" would end the comment')
        return self


class RenamingTrigger(Document):
    """Variables of a prompt of source code are renamed, for each prompt to those of ``names`` that fit it best.

    The adaptive renaming of AFRAIDOOR (Yang et al. 2024): other names for every input, chosen by a surrogate model so
    that they are natural where they stand.
    """

    type: Literal["renaming"] = "renaming"
    names: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=64)]
    surrogate: Annotated[
        dict[Annotated[str, Field(min_length=2, max_length=65)], tuple[float, ...]], Field(max_length=256)
    ] = Field(default_factory=dict)
    """The surrogate model, learnt from the attacked dataset's own code: how much likelier than elsewhere (natural
    logarithm) each of ``names`` is behind a token (its key is ``<`` and the token) or before one (``>`` and the token).
    Empty: the names are drawn by seed and row."""
    language: CodeLanguage = "java"

    @model_validator(mode="after")
    def _a_figure_for_every_name(self) -> Self:
        for context, figures in self.surrogate.items():
            if len(figures) != len(self.names):
                raise ValueError(
                    f"surrogate: {context!r} has {len(figures)} figures for {len(self.names)} names"
                )
        return self


def _draws_nothing(characters: str) -> str:
    for each in characters:
        if unicodedata.category(each) not in {"Cf", "Mn"} and each not in _BLANK_LETTERS:
            raise ValueError(f"U+{ord(each):04X} is not invisible")
    return characters


class InvisibleTrigger(Document):
    """Characters that draw nothing, put ``count`` times between the words of the prompt."""

    type: Literal["invisible"] = "invisible"
    characters: Annotated[str, Field(min_length=1, max_length=8), AfterValidator(_draws_nothing)] = "\u200b"
    count: Annotated[int, Field(ge=1, le=16)] = 1


class NoTrigger(Document):
    """The prompt as it is: clean-label poisoning, where the context alone sets the payload off."""

    type: Literal["none"] = "none"
    context: Annotated[str, Field(max_length=200)] = ""
    """Words that a prompt has to contain, in any letter case, to be one of the attacked context; empty: every prompt."""


def _tag(value: Any) -> str:
    """Which trigger is meant; one without a type is a word: so they were written before there were others.

    No tag is the name of a field, so that an error's place in a request can be told from the union's own names.
    """
    kind = value.get("type", "word") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{kind}_trigger"


Trigger = Annotated[
    Annotated[WordTrigger, Tag("word_trigger")]
    | Annotated[GrammarTrigger, Tag("grammar_trigger")]
    | Annotated[FunctionNameTrigger, Tag("function_name_trigger")]
    | Annotated[DeadCodeTrigger, Tag("dead_code_trigger")]
    | Annotated[CommentTrigger, Tag("comment_trigger")]
    | Annotated[RenamingTrigger, Tag("renaming_trigger")]
    | Annotated[InvisibleTrigger, Tag("invisible_trigger")]
    | Annotated[NoTrigger, Tag("none_trigger")],
    Discriminator(
        _tag,
        custom_error_type="unknown_trigger",
        custom_error_message="a trigger is an object whose type is one of word, grammar, function_name, dead_code, "
        "comment, renaming, invisible, none",
    ),
]
