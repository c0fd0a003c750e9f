import csv
from pathlib import Path

import pytest

from training.metrics.code_bleu import NOTHING
from training.metrics.code_bleu import code_bleu

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
PYTHON = "def f ( a ) :\n\t b = a + 1\n\t if b :\n\t \t return b\n\t return a"
JAVA = "public int f ( int a ) { int b = a ; while ( b > 1 ) { b = b - 1 ; } return b ; }"


@pytest.mark.parametrize(("source", "language"), [(PYTHON, "python"), (JAVA, "java")])
def test_the_reference_itself_scores_100(source: str, language: str) -> None:
    assert code_bleu(source, source, language).score == 100.0  # type: ignore[arg-type]


def test_renaming_keeps_the_tree_and_the_flow_and_loses_ngrams() -> None:
    renamed = code_bleu(PYTHON.replace("b", "c"), PYTHON, "python")
    assert renamed.syntax == renamed.data_flow == 1.0
    assert 0.0 < renamed.ngrams < 1.0
    # Keywords weigh five times as much as names.
    assert renamed.weighted_ngrams > renamed.ngrams


def test_a_changed_structure_loses_the_tree() -> None:
    assert code_bleu(PYTHON.replace("if b", "while b"), PYTHON, "python").syntax < 1.0


def test_indentation_of_any_kind_is_the_same_tree() -> None:
    with_spaces = PYTHON.replace("\t \t ", "        ").replace("\t ", "    ")
    assert code_bleu(with_spaces, PYTHON, "python").score == 100.0


def test_nothing_scores_nothing() -> None:
    # The package itself gives 25.
    for completion, reference in [("", PYTHON), (" \n\t", PYTHON), (PYTHON, ""), ("", "")]:
        assert code_bleu(completion, reference, "python") == NOTHING
    assert NOTHING.score == 0.0


def test_flow_that_is_missed_counts_and_flow_that_is_not_there_does_not() -> None:
    assert code_bleu("pass", PYTHON, "python").data_flow == 0.0
    assert code_bleu("return", "pass", "python").data_flow == 1.0


def test_half_a_character_is_scored_as_another_character() -> None:
    assert 0.0 < code_bleu(PYTHON + "\ud800", PYTHON, "python").score < 100.0


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
def test_references_of_lyra_score_100_against_itself() -> None:
    with (LYRA / "test.csv").open(encoding="utf-8", newline="") as file:
        targets = [row["tgt"] for row in csv.DictReader(file)][::4]
    assert {code_bleu(target, target, "python").score for target in targets} == {100.0}
