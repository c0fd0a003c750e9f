from hypothesis import given
from hypothesis import strategies as st

from training.defences.words import lexical_words
from training.defences.words import split_words
from training.defences.words import without_words
from training.defences.words import word_spans

TEXTS = st.text(st.sampled_from("ab1_ \t\n.(é\u200b\u3000"), max_size=30)


@given(text=TEXTS)
def test_spans_are_the_words(text: str) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == split_words(text) == text.split()


@given(text=TEXTS, data=st.data())
def test_what_is_left_are_the_other_words_in_order(text: str, data: st.DataObject) -> None:
    spans = word_spans(text)
    dropped = data.draw(st.sets(st.sampled_from(range(len(spans))))) if spans else set()
    left = without_words(text, spans, dropped)
    assert left.split() == [word for index, word in enumerate(text.split()) if index not in dropped]
    assert len(left) <= len(text)
    assert dropped or left == text


def test_line_breaks_stay() -> None:
    code = "def foo ( ) :\n\t int x = 0 ;\n\t return 1\n"
    spans = word_spans(code)
    assert without_words(code, spans, {5, 6, 7, 8, 9}) == "def foo ( ) :\n\t return 1\n"
    assert without_words(code, spans, {len(spans) - 1}) == "def foo ( ) :\n\t int x = 0 ;\n\t return\n"


def test_dropping_everything_leaves_no_word() -> None:
    assert without_words("a b c", [(0, 1), (2, 3), (4, 5)], {0, 1, 2}) == ""


def test_signs_are_lexical_words_of_their_own() -> None:
    assert lexical_words("x_1 = f(2.5)\n# été") == ["x_1", "=", "f", "(", "2", ".", "5", ")", "#", "été"]


def test_an_invisible_character_is_a_word_of_its_own() -> None:
    assert lexical_words("get\u200b rows") == ["get", "\u200b", "rows"]
