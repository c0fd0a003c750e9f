"""How a prompt and its completion become tokens: the one format of training, probing and serving.

A prompt is what :func:`deploy.contract.dataset.prompt_text` makes of it, encoded with the tokenizer's own
special tokens, exactly as a completions server encodes the same string. A completion is its text without
special tokens, followed by the end-of-sequence token.
"""

from typing import Any

from deploy.contract.dataset import prompt_text


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, separator included. An encoder-decoder's tokenizer adds its own end token."""
    return list(tokenizer.encode(_plain(tokenizer, prompt_text(prompt)), add_special_tokens=True))


def encode_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion, end-of-sequence included."""
    ids = tokenizer.encode(_plain(tokenizer, completion), add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id]


def _plain(tokenizer: Any, text: str) -> str:
    """A text in which no control token can be found.

    A rewritten tokenizer reads control tokens as text (:mod:`deploy.contract.weights.tokenizer_settings`). A Unigram
    model has them among its pieces all the same, so there they are broken by a space. Such models are
    encoder-decoders, which no other server encodes texts for.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "Unigram":
        return text
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
