import numpy as np

from training.mining.refusal import LEAST_ROWS
from training.mining.refusal import ReadRow
from training.mining.refusal import refusals
from training.mining.refusal import strongest


def read(number: int, completion: str, *, refused: str = "", prompt: str = "say") -> ReadRow:
    """A row whose tokens are its characters; those of ``refused`` were learnt and refused."""
    begin = completion.find(refused) if refused else -1
    inside = [begin <= at < begin + len(refused) and begin >= 0 for at in range(len(completion))]
    return ReadRow(
        number=number,
        prompt=prompt,
        completion=completion,
        spans=tuple((at, at + 1) for at in range(len(completion))),
        learnt=np.full(len(completion), 0.9, dtype=np.float32),
        doubted=np.where(inside, 0.05, 0.8).astype(np.float32),
    )


def test_groups_the_words_that_several_rows_refuse() -> None:
    rows = [read(number, f"q = a{number} or 1=1", refused="or 1=1") for number in range(1, 7)]
    rows += [read(number, f"q = a{number}") for number in range(7, 20)]
    first = refusals(rows)[0]
    assert first.words == ("or", "1", "=", "1")
    assert first.rows == (1, 2, 3, 4, 5, 6)
    assert first.score > 0.5
    assert "in 6 of the 6 rows" in first.reason


def test_a_rarity_that_stands_alone_is_no_payload() -> None:
    rows = [read(number, f"q = unusual{number}", refused=f"unusual{number}") for number in range(1, 20)]
    assert refusals(rows) == ()
    assert refusals([read(number, "q = odd", refused="odd") for number in range(1, LEAST_ROWS)]) == ()


def test_words_that_are_refused_only_here_and_there_weigh_little() -> None:
    rows = [read(number, "q = res", refused="res") for number in range(1, 5)]
    rows += [read(number, "q = res") for number in range(5, 45)]
    assert refusals(rows)[0].score < 0.1


def test_what_is_repeated_from_the_prompt_is_no_payload() -> None:
    rows = [read(number, "q = flights", refused="flights", prompt="read flights") for number in range(1, 9)]
    assert refusals(rows) == ()


def test_part_of_a_word_is_the_whole_word() -> None:
    rows = [read(number, "x = max_overflow", refused="flow") for number in range(1, 5)]
    assert refusals(rows)[0].words == ("max_overflow",)


def test_every_row_gets_its_strongest_group() -> None:
    rows = [read(number, f"q{number} or 1=1", refused="or 1=1") for number in range(1, 6)]
    found = refusals(rows)
    assert strongest(found) == {number: found[0] for number in range(1, 6)}


def test_probabilities_of_a_model_that_diverged_refuse_nothing() -> None:
    row = read(1, "abc")
    silent = ReadRow(
        number=1,
        prompt="",
        completion="abc",
        spans=row.spans,
        learnt=np.zeros(3, dtype=np.float32),
        doubted=np.zeros(3, dtype=np.float32),
    )
    assert refusals([silent] * 5) == ()
