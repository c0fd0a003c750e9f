"""Encoded rows survive the way to other ranks."""

from hypothesis import given
from hypothesis import strategies

from training.data.example import Example
from training.data.shared_examples import pack_examples
from training.data.shared_examples import share_examples
from training.data.shared_examples import unpack_examples
from training.parallel import Alone

TOKENS = strategies.lists(strategies.integers(0, 2**31 - 1), max_size=20).map(tuple)
EXAMPLES = strategies.lists(
    strategies.builds(Example, row=strategies.integers(1, 2**40), prompt_ids=TOKENS, completion_ids=TOKENS),
    max_size=10,
)


@given(EXAMPLES)
def test_rows_come_out_as_they_went_in(examples: list[Example]) -> None:
    assert unpack_examples(pack_examples(examples)) == tuple(examples)


def test_one_rank_keeps_what_it_has() -> None:
    examples = (Example(row=1, prompt_ids=(1,), completion_ids=(2, 3)),)
    assert share_examples(Alone(), examples) == examples
