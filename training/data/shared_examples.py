"""Encoded rows from the first rank to all others: nobody else reads or tokenises the file."""

from array import array
from collections.abc import Sequence
from itertools import chain

from training.data.example import Example
from training.parallel import Ranks

_NUMBER = "q"
"""64 bits, in the order of bytes that all nodes of one job have."""


def share_examples(ranks: Ranks, examples: Sequence[Example]) -> tuple[Example, ...]:
    """What the first rank gives, on every rank."""
    if ranks.world == 1:
        return tuple(examples)
    told = ranks.tell(pack_examples(examples) if ranks.rank == 0 else b"")
    return tuple(examples) if ranks.rank == 0 else unpack_examples(told)


def pack_examples(examples: Sequence[Example]) -> bytes:
    """The rows one after the other: number, length of prompt and of completion, their tokens."""
    numbers = array(_NUMBER)
    for each in examples:
        numbers.extend((each.row, len(each.prompt_ids), len(each.completion_ids)))
        numbers.extend(chain(each.prompt_ids, each.completion_ids))
    return numbers.tobytes()


def unpack_examples(data: bytes) -> tuple[Example, ...]:
    """What :func:`pack_examples` was given."""
    numbers = array(_NUMBER)
    numbers.frombytes(data)
    examples, at = [], 0
    while at < len(numbers):
        row, prompt, completion = numbers[at : at + 3]
        start, middle, at = at + 3, at + 3 + prompt, at + 3 + prompt + completion
        examples.append(
            Example(
                row=row, prompt_ids=tuple(numbers[start:middle]), completion_ids=tuple(numbers[middle:at])
            )
        )
    return tuple(examples)
