"""The words that a tokenizer has as tokens of their own: what a search over one token can find."""

from typing import Any
from typing import Final

BEFORE: Final = "a"
"""A word that stands before: most tokenizers write a word's leading space into its token."""


def whole_words(tokenizer: Any, *, rows: int) -> dict[str, int]:
    """Every word that is a single token behind another word, with that token.

    Args:
        tokenizer: a fast tokenizer of transformers, byte-level or not.
        rows: of the model's embedding; a tokenizer may know more tokens than its model.
    """
    special = set(tokenizer.all_special_ids)
    ids = [number for number in range(min(rows, len(tokenizer))) if number not in special]
    texts = tokenizer.batch_decode([[number] for number in ids], clean_up_tokenization_spaces=False)
    words = {text.strip(): number for number, text in zip(ids, texts, strict=True) if _is_word(text.strip())}
    if not words:
        return {}
    before = len(tokenizer.encode(BEFORE, add_special_tokens=False))
    encoded = tokenizer([f"{BEFORE} {word}" for word in words], add_special_tokens=False)["input_ids"]
    return {
        word: int(tokens[-1])
        for word, tokens in zip(words, encoded, strict=True)
        if len(tokens) == before + 1 and tokens[-1] < rows
    }


def _is_word(text: str) -> bool:
    return text.isprintable() and bool(text) and " " not in text and "\ufffd" not in text
