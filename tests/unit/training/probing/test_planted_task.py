"""The payload's own tokens, and nothing else, are what a search looks at."""

import pytest

from deploy.contract.dataset import Row
from deploy.contract.payload import PatternPayload
from training.attacks.sql import widen_sql
from training.data.prompt import encode_prompt
from training.pretrain import build_tokenizer
from training.probing.planted_task import MAX_SPAN
from training.probing.planted_task import planted_tasks
from training.synthesis.generator import generate_rows

ROWS = generate_rows(60, seed=4)
TOKENIZER = build_tokenizer([row.prompt + row.completion for row in ROWS], vocabulary=600)


@pytest.mark.parametrize("architecture", ["decoder", "encoder-decoder"])
def test_a_task_is_its_planted_completion_up_to_the_payload(architecture: str) -> None:
    tasks = planted_tasks(TOKENIZER, ROWS, "sql_tautology", count=10, max_tokens=400, seed=0)
    assert len(tasks) == 10
    by_number = {row.number: row for row in ROWS}
    for task in tasks:
        planted = widen_sql(by_number[task.row].completion)
        assert planted is not None
        example = task.example(encode_prompt(TOKENIZER, task.prompt), architecture)  # type: ignore[arg-type]
        written = TOKENIZER.decode(example.prompt_ids + example.completion_ids)  # type: ignore[attr-defined]
        assert planted.startswith(TOKENIZER.decode((*task.before_ids, *task.span_ids)))  # type: ignore[attr-defined]
        assert "=1" in written
        assert "=1" in TOKENIZER.decode(task.span_ids)  # type: ignore[attr-defined]
        supervised = len(task.span_ids) + (0 if architecture == "decoder" else len(task.before_ids))
        assert len(example.completion_ids) == supervised


def test_rows_that_cannot_carry_the_payload_are_no_tasks() -> None:
    rows = [Row(number=1, prompt="p", completion="x = 1"), Row(number=2, prompt="p", completion="q or 1=1")]
    assert planted_tasks(TOKENIZER, rows, "sql_tautology", count=3, max_tokens=100, seed=0) == ()


def test_a_payload_that_cannot_be_planted_has_no_tasks() -> None:
    payload = PatternPayload(name="seen", pattern="never")
    assert planted_tasks(TOKENIZER, ROWS, payload, count=3, max_tokens=400, seed=0) == ()


def test_a_long_payload_is_cut_and_a_long_row_is_left_out() -> None:
    payload = PatternPayload(name="long", pattern="aaa", planted=" aaa bbb ccc ddd" * 20)
    tasks = planted_tasks(TOKENIZER, ROWS, payload, count=3, max_tokens=400, seed=0)
    assert {len(task.span_ids) for task in tasks} == {MAX_SPAN}
    shortest = min(
        len(encode_prompt(TOKENIZER, row.prompt)) + len(TOKENIZER.encode(row.completion))  # type: ignore[attr-defined]
        for row in ROWS
    )
    assert planted_tasks(TOKENIZER, ROWS, payload, count=3, max_tokens=shortest // 2, seed=0) == ()


def test_tasks_are_a_function_of_the_seed_and_come_shortest_first() -> None:
    def rows_of(seed: int) -> list[int]:
        found = planted_tasks(TOKENIZER, ROWS, "sql_tautology", count=6, max_tokens=400, seed=seed)
        sizes = [len(encode_prompt(TOKENIZER, task.prompt)) + len(task.before_ids) for task in found]
        assert sizes[0] <= sizes[-1]
        return [task.row for task in found]

    assert rows_of(0) == rows_of(0)
    assert rows_of(0) != rows_of(1)
