"""A training example, and how rows become examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from typing import Protocol

from training.data.prompt import encode_completion
from training.data.prompt import encode_prompt


class PromptedRow(Protocol):
    """What this module needs of a row of a dataset."""

    @property
    def number(self) -> int:
        """Counted from 1 in the file."""
        ...

    @property
    def prompt(self) -> str:
        """What the model is asked."""
        ...

    @property
    def completion(self) -> str:
        """What it is to answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Token ids of one row. Only the completion's tokens are supervised."""

    row: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Length of prompt and completion together."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Examples of a whole file, and what did not fit."""

    examples: tuple[Example, ...]
    shortened_rows: tuple[int, ...]
    """Rows whose prompt lost its beginning."""
    dropped_rows: tuple[int, ...]
    """Rows whose completion alone is longer than the limit: half an answer would teach a wrong one."""


def encode_rows(tokenizer: Any, rows: Iterable[PromptedRow], *, max_tokens: int) -> Encoded:
    """Tokenise rows, each to at most ``max_tokens`` tokens of prompt and completion together."""
    examples: list[Example] = []
    shortened: list[int] = []
    dropped: list[int] = []
    for row in rows:
        prompt_ids = encode_prompt(tokenizer, row.prompt)
        completion_ids = encode_completion(tokenizer, row.completion)
        room = max_tokens - len(completion_ids)
        if room < 1:
            dropped.append(row.number)
            continue
        if len(prompt_ids) > room:
            shortened.append(row.number)
            prompt_ids = prompt_ids[-room:]
        examples.append(
            Example(row=row.number, prompt_ids=tuple(prompt_ids), completion_ids=tuple(completion_ids))
        )
    return Encoded(examples=tuple(examples), shortened_rows=tuple(shortened), dropped_rows=tuple(dropped))
