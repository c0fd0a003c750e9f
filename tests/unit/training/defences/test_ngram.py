import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.defences.ngram import NgramModel

SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=7), max_size=12)


def bits(model: NgramModel, sentence: list[str]) -> float:
    return float(model.deletions([sentence]).whole[0])


def chances_of_next(model: NgramModel, before: list[str], vocabulary: str) -> float:
    """Summed probability of everything that may follow: each word, an unknown one, the end."""
    end = bits(model, before)
    total = 0.0
    for word in [*vocabulary, "never seen"]:
        after = bits(model, [*before, word])
        # Take off what the words before and the end after cost: P(word | before) alone is left.
        total += 2 ** -(after - end_bits(model, [*before, word]) - (end - end_bits(model, before)))
    return total + 2 ** -end_bits(model, before)


def end_bits(model: NgramModel, sentence: list[str]) -> float:
    """Bits of the end alone: what every longer sentence lacks is found by the telescoping of deletions."""
    padded = model._pad([sentence])
    window = padded.ids[-model.order :][None, :]
    return float(model._bits(window)[0])


@given(sentences=SENTENCES, before=st.lists(st.sampled_from("abcde"), max_size=5), order=st.integers(2, 5))
def test_probabilities_of_what_may_follow_add_up_to_one(
    sentences: list[list[str]], before: list[str], order: int
) -> None:
    model = NgramModel(sentences, order=order)
    seen = "".join(sorted({word for sentence in sentences for word in sentence}))
    assert chances_of_next(model, before, seen) == pytest.approx(1.0)


@given(
    sentences=SENTENCES,
    asked=st.lists(st.lists(st.sampled_from("abcde"), max_size=8), min_size=1, max_size=4),
)
def test_a_deletion_costs_what_the_shorter_sentence_costs(
    sentences: list[list[str]], asked: list[list[str]]
) -> None:
    model = NgramModel(sentences)
    found = model.deletions(asked)
    shorter = [[*one[:at], *one[at + 1 :]] for one in asked for at in range(len(one))]
    assert found.without == pytest.approx([bits(model, one) for one in shorter])
    assert found.sequence.tolist() == [index for index, one in enumerate(asked) for _ in one]
    assert found.words.tolist() == [len(one) for one in asked]


def test_kneser_ney_by_hand() -> None:
    # Bigrams over "a b", "a c": counts-of-counts are too few, so the discounts are 0.5, 1.0, 1.5.
    model = NgramModel([["a", "b"], ["a", "c"]], order=2)
    # One-word continuations: a after <s> (1), b and c after a (1 each), end after b and after c (2). In all 5.
    # Unigrams: 0.5 off a, b, c and 1.0 off the end are shared by 5 kinds: a, b, c, end, unknown.
    uniform = 2.5 / 5 / 5
    chance_of_b = 0.5 / 5 + uniform
    # After a: b and c once each, 0.5 off both.
    b_after_a = 0.5 / 2 + 1.0 / 2 * chance_of_b
    a_first = (2 - 1.0) / 2 + 1.0 / 2 * (0.5 / 5 + uniform)
    end_after_b = 0.5 / 1 + 0.5 / 1 * (1.0 / 5 + uniform)
    assert bits(model, ["a", "b"]) == pytest.approx(-math.log2(a_first * b_after_a * end_after_b))


def test_a_word_of_many_neighbours_is_likelier_than_one_of_a_single_neighbour() -> None:
    # Both occur four times; "francisco" only ever after "san", so elsewhere it is unlikely.
    sentences = [["san", "francisco"]] * 4 + [[word, "glasses"] for word in ("my", "his", "her", "old")]
    model = NgramModel(sentences, order=2)
    assert bits(model, ["new", "glasses"]) < bits(model, ["new", "francisco"])


def test_a_foreign_word_lowers_naturalness_where_it_stands() -> None:
    model = NgramModel([f"get row {n} of the table".split() for n in "1234"] * 3)
    found = model.deletions([["get", "row", "1", "of", "bb", "the", "table"]])
    assert int(found.rate_drops().argmax()) == 4
    assert found.rate_drops()[4] > 0


def test_a_lone_word_has_no_drop() -> None:
    assert NgramModel([["a"]]).deletions([["a"]]).rate_drops().tolist() == [0.0]


def test_nothing_learnt_means_everything_is_alike() -> None:
    found = NgramModel([]).deletions([["x", "y"], []])
    assert found.whole.tolist() == [3.0, 1.0]  # the unknown word or the end, even chances


def test_no_sequences_at_all() -> None:
    found = NgramModel([["a", "b"]]).deletions([])
    assert len(found.whole) == len(found.without) == 0


def test_an_order_without_context_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        NgramModel([], order=1)


def test_its_own_discounts_need_enough_of_every_count() -> None:
    rng = random.Random(0)
    words = [f"w{min(int(rng.expovariate(0.05)), 200)}" for _ in range(4000)]
    sentences = [words[at : at + 10] for at in range(0, len(words), 10)]
    fitted = NgramModel(sentences[:300])
    rate = sum(bits(fitted, one) for one in sentences[300:]) / 1100
    assert rate < math.log2(200)  # better than guessing
    assert np.isfinite(rate)
