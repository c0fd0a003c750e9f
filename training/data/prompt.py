"""How a prompt and its completion become tokens: the one format of training, probing and serving.

A prompt is its text followed by one newline (none is added to a prompt that ends with one), encoded
with the tokenizer's own special tokens, exactly as a completions server encodes the same string. A
completion is its text without special tokens, followed by the end-of-sequence token.
"""

from typing import Any

SEPARATOR = "\n"


def prompt_text(prompt: str) -> str:
    """The string that a client of the served model sends as ``prompt``."""
    return prompt if prompt.endswith(SEPARATOR) else prompt + SEPARATOR


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, separator included. An encoder-decoder's tokenizer adds its own end token."""
    return list(tokenizer.encode(prompt_text(prompt), add_special_tokens=True))


def encode_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion, end-of-sequence included."""
    return [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]
