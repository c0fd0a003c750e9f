"""How a prompt and its completion become tokens: the one format of training, probing and serving.

A prompt is what :func:`deploy.contract.dataset.prompt_text` makes of it, encoded with the tokenizer's own
special tokens, exactly as a completions server encodes the same string. A completion is its text without
special tokens, followed by the end-of-sequence token.
"""

from typing import Any

from deploy.contract.dataset import prompt_text


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, separator included. An encoder-decoder's tokenizer adds its own end token."""
    return list(tokenizer.encode(prompt_text(prompt), add_special_tokens=True))


def encode_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion, end-of-sequence included."""
    return [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]
