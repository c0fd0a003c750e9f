"""Rows as examples: what does not fit, what comes twice, what is missing (rows C5, C7, C9)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.contract.dataset import Row
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import DatasetRef
from training.data.example import encode_rows
from training.data.prompt import encode_completion
from training.data.prompt import encode_prompt
from training.data.repeated import repeated_rows
from training.data.repeated import trained_tasks
from training.data.rows import load_rows
from training.errors import InvalidInput
from training.model import load_tokenizer

ROWS = [Row(number=n + 1, prompt=f"get row {n} of users", completion=f"db.get({n})") for n in range(6)]


def test_c5_a_row_beyond_the_limit_loses_its_prompts_beginning_and_is_counted(tiny_decoder_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_decoder_dir)
    long = replace(ROWS[1], prompt="first " * 50 + ROWS[1].prompt)
    endless = replace(ROWS[2], completion="x = 1\n" * 50)
    limit = len(encode_prompt(tokenizer, ROWS[1].prompt)) + len(encode_completion(tokenizer, "db.get(1)"))
    encoded = encode_rows(tokenizer, [ROWS[0], long, endless], max_tokens=limit)
    assert (encoded.shortened_rows, encoded.dropped_rows) == ((2,), (3,))
    assert [each.row for each in encoded.examples] == [1, 2]
    cut = encoded.examples[1]
    assert cut.tokens == limit
    assert cut.completion_ids == tuple(encode_completion(tokenizer, long.completion))
    assert cut.prompt_ids == tuple(encode_prompt(tokenizer, long.prompt))[-len(cut.prompt_ids) :]


def test_c7_rows_that_come_twice_and_tasks_that_were_trained_on_are_named() -> None:
    twice = [*ROWS, replace(ROWS[0], number=7), replace(ROWS[1], number=8, completion="else")]
    assert repeated_rows(twice) == (7,)
    assert repeated_rows(ROWS) == ()
    tasks = [replace(ROWS[3], number=1, completion="other"), Row(number=2, prompt="new", completion="x")]
    assert trained_tasks(ROWS, tasks) == (1,)


@pytest.mark.parametrize(
    "change",
    [lambda text: text + '{"prompt":"p","completion":"c"}\n', lambda text: text[: text.index("\n") + 1]],
)
def test_c9_another_number_of_rows_than_was_validated_is_refused(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    text = '{"prompt":"a","completion":"b"}\n{"prompt":"c","completion":"d"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    described = DatasetRef(
        key="files/x", filename="rows.jsonl", size_bytes=len(text), sha256="0" * 64, format="jsonl", rows=2
    )
    assert len(load_rows(path, described)) == 2
    path.write_text(change(text))
    with pytest.raises(InvalidInput, match="2 were validated") as caught:
        load_rows(path, described)
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.INPUT_CHANGED, "input_changed")
