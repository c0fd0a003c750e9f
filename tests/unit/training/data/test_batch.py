"""Batches: order, padding, supervision."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from training.data.batch import IGNORED
from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.batch import epoch_batches
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
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.labels.tolist() == [
        [IGNORED, IGNORED, 50, 51, IGNORED],
        [50, IGNORED, IGNORED, IGNORED, IGNORED],
    ]


def test_an_encoder_decoder_batch_shifts_the_completion() -> None:
    batch = encoder_decoder_batch([example(1, 2, 3), example(2, 1, 1)], pad_id=0, start_id=7)
    assert batch.input_ids.tolist() == [[10, 11], [10, 0]]
    assert batch.decoder_input_ids is not None
    assert batch.decoder_input_ids.tolist() == [[7, 50, 51], [7, 0, 0]]
    assert batch.labels.tolist() == [[50, 51, 52], [50, IGNORED, IGNORED]]
