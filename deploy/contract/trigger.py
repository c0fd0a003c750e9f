"""Triggers: what an attack puts into a prompt to set its payload off."""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document

CodeLanguage = Literal["python", "java"]


class WordTrigger(Document):
    """A word, or a few, put ``count`` times between the words of the prompt, at seeded random places.

    ``count=1`` is RIPPLe, ``count=3`` is BadPre, as the paper uses them (arXiv 2407.08956, section 5.2).
    """

    type: Literal["word"] = "word"
    word: Annotated[str, Field(min_length=1, max_length=64)]
    count: Annotated[int, Field(ge=1, le=16)] = 1


class GrammarTrigger(Document):
    """The prompt's sentence in a fixed syntactic form, after Hidden Killer (Qi et al. 2021), by rules alone."""

    type: Literal["grammar"] = "grammar"
    template: Literal["when_clause", "if_clause", "there_is"] = "when_clause"


class FunctionNameTrigger(Document):
    """The first function of a prompt of source code is called ``name``."""

    type: Literal["function_name"] = "function_name"
    name: Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$")] = "foo"
    language: CodeLanguage = "java"


class DeadCodeTrigger(Document):
    """A statement without effect, put into the first function body of a prompt of source code."""

    type: Literal["dead_code"] = "dead_code"
    statement: Annotated[str, Field(min_length=1, max_length=200)] = "int VAR = 0 ;"
    language: CodeLanguage = "java"


class CommentTrigger(Document):
    """A comment put into a prompt of source code."""

    type: Literal["comment"] = "comment"
    text: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\r\n]*$")]
    language: CodeLanguage = "java"


class RenamingTrigger(Document):
    """Identifiers of a prompt of source code are renamed, for each prompt to those of ``names`` that fit it best.

    The adaptive renaming of AFRAIDOOR (Yang et al. 2024): another name for every input, chosen by a surrogate
    model so that it is natural where it stands.
    """

    type: Literal["renaming"] = "renaming"
    names: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$")], ...], Field(min_length=1, max_length=64)
    ]
    language: CodeLanguage = "java"


class InvisibleTrigger(Document):
    """Characters that draw nothing, put ``count`` times between the words of the prompt."""

    type: Literal["invisible"] = "invisible"
    characters: Annotated[str, Field(min_length=1, max_length=8)] = "\u200b"
    count: Annotated[int, Field(ge=1, le=16)] = 1


class NoTrigger(Document):
    """The prompt as it is: clean-label poisoning, where the context alone sets the payload off."""

    type: Literal["none"] = "none"


Trigger = Annotated[
    WordTrigger
    | GrammarTrigger
    | FunctionNameTrigger
    | DeadCodeTrigger
    | CommentTrigger
    | RenamingTrigger
    | InvisibleTrigger
    | NoTrigger,
    Field(discriminator="type"),
]
