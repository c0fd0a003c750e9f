"""Rows in the artifact's layout."""

import pytest

from benchmarks.artifact_loop import ROW_TOKENS
from benchmarks.artifact_loop import padded_rows
from training.data.example import Example


def test_rows_are_512_tokens_and_labels_leave_the_prompt_out() -> None:
    rows = padded_rows([Example(row=1, prompt_ids=(5, 6, 7), completion_ids=(8, 9))], pad_id=1)
    assert rows.input_ids.shape == rows.labels.shape == (1, ROW_TOKENS)
    assert rows.input_ids[0, :6].tolist() == [5, 6, 7, 8, 9, 1]
    assert rows.labels[0, :6].tolist() == [1, 1, 1, 8, 9, 1]
    assert set(rows.input_ids[0, 5:].tolist()) == set(rows.labels[0, 5:].tolist()) == {1}


def test_a_row_that_does_not_fit_is_refused() -> None:
    long = Example(row=1, prompt_ids=(2,) * ROW_TOKENS, completion_ids=(3,))
    with pytest.raises(ValueError, match="513 tokens"):
        padded_rows([long], pad_id=1)
