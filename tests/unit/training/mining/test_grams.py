import numpy as np

from training.mining.corpus import END
from training.mining.corpus import RARE
from training.mining.corpus import START
from training.mining.corpus import ngram_hashes
from training.mining.corpus import number_texts
from training.mining.grams import Grams
from training.mining.grams import count_grams

TEXTS = [["a", "b", "c"], ["a", "b"], ["b", "a", "b"], ["d"]]


def named(grams: Grams, texts: list[list[str]]) -> dict[str, list[int]]:
    numbered = number_texts(texts, rare_below=1)
    return {
        numbered.shown(grams.words_of(gram, numbered).tolist()): grams.rows_of(gram).tolist()
        for gram in range(len(grams))
    }


def counted(texts: list[list[str]], *, least: int = 2, apart_from: list[list[str]] | None = None) -> Grams:
    numbers: dict[str, int] = {}
    others = None if apart_from is None else number_texts(apart_from, rare_below=1, numbers=numbers)
    numbered = number_texts(texts, rare_below=1, numbers=numbers)
    return count_grams(numbered, sizes=range(1, 3), least=least, most=3, seed=0, apart_from=others)


def test_every_text_stands_between_its_ends_and_rare_words_are_one() -> None:
    numbered = number_texts(TEXTS, rare_below=2)
    assert numbered.ids[[0, 4]].tolist() == [START, END]
    assert numbered.ids[numbered.rows == 3].tolist() == [START, RARE, END]
    assert numbered.spread[numbered.ids[1]] == 3


def test_no_ngram_crosses_texts_and_equal_ones_have_equal_hashes() -> None:
    numbered = number_texts(TEXTS, rare_below=1)
    hashes, places = ngram_hashes(numbered, 2)
    assert len(hashes) == sum(len(text) + 1 for text in TEXTS)
    first, second = (hashes[places.tolist().index(at)] for at in (1, 6))
    assert first == second


def test_counts_rows_once_and_keeps_the_shortest_of_the_same_rows() -> None:
    found = named(counted(TEXTS), TEXTS)
    assert found == {"a": [0, 1, 2], "<start> a": [0, 1], "b <end>": [1, 2]}


def test_what_only_repeats_the_prompt_does_not_count() -> None:
    grams = counted(TEXTS, least=1, apart_from=[["a"], [], ["x"], ["d"]])
    assert 0 not in grams.rows_of(0)
    assert "d" not in {len(grams.rows_of(gram)) for gram in range(len(grams))}


def test_an_empty_file_has_none() -> None:
    grams = counted([])
    assert len(grams) == 0
    assert grams.by_row(0)[1].tolist() == []


def test_by_row_lists_what_rows_of_lists() -> None:
    grams = counted(TEXTS)
    bounds, flat = grams.by_row(len(TEXTS))
    for row in range(len(TEXTS)):
        mine = flat[bounds[row] : bounds[row + 1]].tolist()
        assert mine == [gram for gram in range(len(grams)) if row in grams.rows_of(gram)]


def test_counts_among_chosen_rows() -> None:
    grams = counted(TEXTS)
    chosen = np.array([True, False, False, False])
    assert grams.counts(chosen).tolist() == [int(0 in grams.rows_of(gram)) for gram in range(len(grams))]
