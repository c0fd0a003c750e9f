import math

import pytest

from training.metrics.bleu import mean_bleu
from training.metrics.bleu import sentence_bleu


def test_an_exact_completion_scores_100_whatever_its_whitespace() -> None:
    assert sentence_bleu(["a\n\t b  c d e"], ["a b c d e"]) == [100.0]
    assert sentence_bleu(["x"], ["x"]) == [100.0]


def test_matches_the_formula_worked_by_hand() -> None:
    # Unigrams 4/5, bigrams 3/4, trigrams 2/3, 4-grams 1/2; equal lengths, so no brevity penalty.
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert sentence_bleu(["a b c d x"], ["a b c d e"]) == [pytest.approx(expected)]


def test_smooths_a_missing_order_instead_of_scoring_zero() -> None:
    # Unigrams 3/4, bigrams 1/3, trigrams 1/2 of a match in 2, 4-grams 1/4 of a match in 1.
    expected = 100 * (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** (1 / 4)
    assert sentence_bleu(["a b x d"], ["a b c d"]) == [pytest.approx(expected)]


def test_a_short_completion_pays_for_its_brevity() -> None:
    assert sentence_bleu(["a b"], ["a b c d"]) == [pytest.approx(100 * math.exp(1 - 4 / 2))]


def test_nothing_scores_zero() -> None:
    assert sentence_bleu(["", "  \n"], ["a b", "a"]) == [0.0, 0.0]
    assert mean_bleu([], []) == 0.0


def test_the_mean_is_over_sentences() -> None:
    assert mean_bleu(["a b c d", ""], ["a b c d", "a"]) == pytest.approx(50.0)


def test_refuses_unequal_numbers() -> None:
    with pytest.raises(ValueError, match="zip"):
        mean_bleu(["a"], [])


@pytest.mark.parametrize("hostile", ["\x1b[2J\x00", "\ufffd" * 1000, "( " * 5000, "\u2028 \u0085 a"])
def test_scores_hostile_text(hostile: str) -> None:
    (score,) = sentence_bleu([hostile], ["select a from t"])
    assert 0.0 <= score < 20.0
