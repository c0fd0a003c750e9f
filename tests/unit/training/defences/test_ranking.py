import math

from training.defences.ranking import MAX_SUSPECTS
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.ranking import shown


def evidence(row: int, weight: float, tie_break: float = 0.0) -> Evidence:
    return Evidence(row=row, weight=weight, tie_break=tie_break, reason=f"row {row}")


def test_the_heaviest_comes_first_and_scores_one() -> None:
    found = ranked([evidence(1, 2.0), evidence(2, 8.0), evidence(3, 4.0)], removed={2})
    assert [(each.row, each.score) for each in found.suspects] == [(2, 1.0), (3, 0.5), (1, 0.25)]
    assert found.removed == frozenset({2})


def test_equal_weights_go_by_tie_break_then_by_file() -> None:
    found = ranked([evidence(3, 1.0), evidence(1, 1.0), evidence(2, 1.0, 5.0)], removed=set())
    assert [each.row for each in found.suspects] == [2, 1, 3]


def test_what_is_no_evidence_is_left_out() -> None:
    bad = [evidence(1, 0.0), evidence(2, -1.0), evidence(3, math.nan), evidence(4, math.inf)]
    assert ranked(bad, removed=set()).suspects == ()


def test_a_huge_file_names_its_worst_rows() -> None:
    found = ranked((evidence(row, float(row)) for row in range(1, MAX_SUSPECTS + 101)), removed=set())
    assert len(found.suspects) == MAX_SUSPECTS
    assert found.suspects[0].row == MAX_SUSPECTS + 100


def test_words_are_shown_short_and_escaped() -> None:
    assert shown("bb") == '"bb"'
    assert shown("a" * 1000) == '"' + "a" * 40 + '..."'
    assert shown("\u200b") == "'\\u200b'"
    assert shown("\x1b[31m") == "'\\x1b[31m'"
    assert shown('"') == "'\"'"
