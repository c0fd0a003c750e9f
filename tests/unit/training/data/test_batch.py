"""Batches: order, padding, supervision."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.batch import epoch_batches
from training.data.batch import micro_batches
from training.data.batch import packed_batch
from training.data.example import Example


def example(row: int, prompt: int, completion: int) -> Example:
    return Example(
        row=row, prompt_ids=tuple(range(10, 10 + prompt)), completion_ids=tuple(range(50, 50 + completion))
    )


@given(
    count=st.integers(1, 300), batch_size=st.integers(1, 40), seed=st.integers(0, 99), epoch=st.integers(1, 9)
)
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_row_once(count: int, batch_size: int, seed: int, epoch: int) -> None:
    examples = [example(row, 1 + row % 17, 1 + row % 5) for row in range(count)]
    batches = epoch_batches(examples, batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(each.row for batch in batches for each in batch) == list(range(count))
    assert len(batches) == -(-count // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    examples = [example(row, 3 + row % 7, 2) for row in range(100)]

    def order(seed: int, epoch: int) -> list[int]:
        return [
            each.row
            for batch in epoch_batches(examples, batch_size=8, seed=seed, epoch=epoch)
            for each in batch
        ]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2) != order(2, 2)


def test_rows_of_a_batch_are_alike_in_length() -> None:
    examples = [example(row, 1 + (row * 37) % 200, 5) for row in range(256)]
    padded = useful = 0
    for batch in epoch_batches(examples, batch_size=8, seed=0, epoch=1):
        padded += max(each.tokens for each in batch) * len(batch)
        useful += sum(each.tokens for each in batch)
    # Shuffled alone, such rows fill about 60 % of their batches.
    assert useful / padded > 0.9


def test_a_decoder_batch_supervises_the_completion_only() -> None:
    batch = decoder_batch([example(1, 3, 2), example(2, 1, 1)], pad_id=0)
    assert batch.input_ids.tolist() == [[10, 11, 12, 50, 51], [10, 50, 0, 0, 0]]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    # Position 2 of row 1 and position 0 of row 2 (5 tokens on) each see the prompt's last token.
    assert batch.supervised.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [50, 51, 50]


def test_a_packed_batch_is_the_same_rows_without_padding() -> None:
    batch = packed_batch([example(1, 3, 2), example(2, 1, 1)])
    assert batch.input_ids.tolist() == [[10, 11, 12, 50, 51, 10, 50]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1]]
    assert batch.attention_mask is None
    assert batch.lengths == (5, 2)
    assert batch.supervised.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [50, 51, 50]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    max_tokens=st.integers(8, 200),
    packed=st.booleans(),
)
def test_micro_batches_keep_the_order_and_the_limit(sizes: list[int], max_tokens: int, packed: bool) -> None:
    examples = [example(row, size, 1) for row, size in enumerate(sizes)]
    parts = micro_batches(examples, max_tokens=max_tokens, packed=packed)
    assert [each.row for part in parts for each in part] == list(range(len(sizes)))
    for part in parts:
        tokens = [each.tokens for each in part]
        held = sum(tokens) if packed else max(tokens) * len(part)
        assert held <= max_tokens or len(part) == 1


def test_a_batch_that_fits_is_one_part() -> None:
    examples = [example(row, 5, 5) for row in range(4)]
    assert len(micro_batches(examples, max_tokens=40, packed=True)) == 1
    assert len(micro_batches(examples, max_tokens=39, packed=True)) == 2


def test_an_encoder_decoder_batch_shifts_the_completion() -> None:
    batch = encoder_decoder_batch([example(1, 2, 3), example(2, 1, 1)], pad_id=0, start_id=7)
    assert batch.input_ids.tolist() == [[10, 11], [10, 0]]
    assert batch.decoder_input_ids is not None
    assert batch.decoder_input_ids.tolist() == [[7, 50, 51], [7, 0, 0]]
    assert batch.supervised.tolist() == [0, 1, 2, 3]
    assert batch.targets.tolist() == [50, 51, 52, 50]
