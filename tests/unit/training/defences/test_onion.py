import time
from collections.abc import Callable

from deploy.contract.dataset import Row
from training.defences.onion import Onion
from training.defences.onion import OnionFilter
from training.defences.row_filter import Filtered
from training.defences.row_filter import RowFilter

MakeRows = Callable[..., list[Row]]


def examine(rows: list[Row], seed: int = 0) -> Filtered:
    return OnionFilter().examine(rows, model=None, seed=seed, on_progress=lambda *step: None)


def test_a_foreign_word_is_cleaned_away(planted_rows: MakeRows) -> None:
    onion = Onion(planted_rows(400, planted=8), seed=0)
    prompt = "get the name of all rows of the table users in the database"
    words = prompt.split()
    for place in range(len(words) + 1):
        cleaned = onion.clean(" ".join([*words[:place], "bb", *words[place:]])).split()
        assert "bb" not in cleaned
        # A word beside the foreign one may look foreign itself, for it follows what it never follows.
        assert len(cleaned) >= len(words) - 3


def test_a_natural_prompt_stays(planted_rows: MakeRows) -> None:
    onion = Onion(planted_rows(400), seed=0)
    prompt = "list the price of all rows of the table flights in the database"
    assert onion.clean(prompt) == prompt


def test_line_breaks_stay(planted_rows: MakeRows) -> None:
    onion = Onion(planted_rows(400), seed=0)
    cleaned = onion.clean("list the price of all rows\n\tof the table books in the zz database\n")
    assert cleaned.startswith("list the price of all rows\n\tof the table books in")
    assert cleaned.endswith("\n")
    assert "zz" not in cleaned


def test_a_threshold_spares_what_hardly_matters(planted_rows: MakeRows) -> None:
    rows = planted_rows(400)
    prompt = "list the price of bb all rows of the table books in the database"
    assert Onion(rows, seed=0, threshold=100.0).clean(prompt) == prompt


def test_nothing_is_left_means_nothing_is_cleaned() -> None:
    rows = [Row(number=n, prompt="a b", completion="x") for n in range(1, 9)]
    for prompt in ("", " ", "zz", "zz yy", "zz zz zz zz"):
        cleaned = Onion(rows, seed=0).clean(prompt)
        assert len(cleaned) <= len(prompt)
        assert bool(cleaned.strip()) == bool(prompt.strip())


def test_cleaning_degenerate_files(degenerate_rows: list[Row]) -> None:
    onion = Onion(degenerate_rows, seed=0)
    for row in degenerate_rows[:5]:
        cleaned = onion.clean(row.prompt)
        assert cleaned == onion.clean(row.prompt)
        assert len(cleaned) <= len(row.prompt)
        assert bool(cleaned.split()) == bool(row.prompt.split())


def test_the_row_with_a_foreign_word_leads(planted_rows: MakeRows) -> None:
    found = examine(planted_rows(300, planted=1, word="zz"))
    assert found.suspects[0].row == 1
    assert '"zz"' in found.suspects[0].reason
    assert found.removed == {1}


def test_a_clean_file_loses_few_rows(planted_rows: MakeRows) -> None:
    assert len(examine(planted_rows(400)).removed) <= 20


def test_degenerate_files(degenerate_rows: list[Row]) -> None:
    found = examine(degenerate_rows)
    assert found == examine(degenerate_rows)
    assert found.removed <= {row.number for row in degenerate_rows}
    assert all(0 <= suspect.score <= 1 for suspect in found.suspects)


def test_it_is_a_row_filter() -> None:
    held: RowFilter = OnionFilter()
    assert (held.name, held.needs_model) == ("onion", False)


def test_ten_times_the_rows_take_about_ten_times_as_long(planted_rows: MakeRows) -> None:
    small, large = planted_rows(2_000), planted_rows(20_000)
    examine(small)
    started = time.process_time()
    examine(small)
    between = time.process_time()
    examine(large)
    # Quadratic would be a hundred times; the sorting and the smaller caches are given a factor of three.
    assert time.process_time() - between < 30 * (between - started)
