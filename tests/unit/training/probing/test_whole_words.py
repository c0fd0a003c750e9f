"""Words that a tokenizer holds in one token."""

from training.pretrain import SHORT_WORDS
from training.pretrain import build_tokenizer
from training.probing.whole_words import whole_words

TOKENIZER = build_tokenizer(["the user of the table", *SHORT_WORDS * 5], vocabulary=1000)


def test_every_word_is_one_token_behind_another() -> None:
    words = whole_words(TOKENIZER, rows=1000)
    assert {"qx", "bb", "table", "the"} <= set(words)
    for word, token in words.items():
        assert TOKENIZER.encode(f"user {word}", add_special_tokens=False)[-1] == token  # type: ignore[attr-defined]


def test_special_tokens_pieces_and_broken_bytes_are_no_words() -> None:
    words = whole_words(TOKENIZER, rows=1000)
    assert not any(
        "<|" in word or "\ufffd" in word or " " in word or not word.isprintable() for word in words
    )


def test_tokens_that_the_model_has_no_row_for_are_left_out() -> None:
    assert max(whole_words(TOKENIZER, rows=300).values()) < 300
