"""Last hidden states of a model over texts, for the filters that look at representations.

Only texts are run, nothing is generated; in evaluation mode, without gradients, and the model's mode is put back.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any
from typing import Final

import torch

from training.data.example import PromptedRow
from training.data.prompt import encode_completion
from training.data.prompt import encode_prompt
from training.model import LoadedModel
from training.model import plain_model

MAX_TOKENS: Final = 512
"""Of one text, as in training; longer ones lose their beginning."""
BATCH_TOKENS: Final = 16_384
"""Padding included: what training works on at a time as well."""

Pick = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From states [B, T, H] and a mask [B, T], of tokens on the left and padding on the right, to [B, H]."""


def first_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state at the first token."""
    del mask
    return states[:, 0]


def last_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state at the last token."""
    return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]


def mean_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def prompt_ids(loaded: LoadedModel, prompt: str) -> list[int]:
    """Tokens of a prompt as in training, at most ``MAX_TOKENS``, at least one."""
    return _fitted(encode_prompt(loaded.tokenizer, prompt), loaded)


def row_ids(loaded: LoadedModel, row: PromptedRow) -> list[int]:
    """What the body of the model sees of a row: prompt and completion, an encoder the prompt alone."""
    prompt = encode_prompt(loaded.tokenizer, row.prompt)
    if loaded.architecture == "encoder-decoder":
        return _fitted(prompt, loaded)
    return _fitted([*prompt, *encode_completion(loaded.tokenizer, row.completion)], loaded)


def _fitted(ids: Sequence[int], loaded: LoadedModel) -> list[int]:
    longest = getattr(plain_model(loaded.model).config, "max_position_embeddings", None) or MAX_TOKENS
    return list(ids[-min(MAX_TOKENS, longest) :]) or [int(loaded.tokenizer.eos_token_id)]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode; the model's own is put back."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def picked_states(loaded: LoadedModel, texts: Sequence[Sequence[int]], pick: Pick) -> torch.Tensor:
    """One vector a text: [texts, H] in fp32 on the CPU. ``texts`` are token ids, none of them empty."""
    width = int(plain_model(loaded.model).config.hidden_size)
    found = torch.zeros(len(texts), width)
    with evaluating(loaded.model), torch.no_grad():
        for members in _batches(texts):
            ids = [list(texts[index]) for index in members]
            longest = max(map(len, ids))
            padded = torch.tensor([[*own, *[loaded.pad_id] * (longest - len(own))] for own in ids])
            mask = torch.tensor([[1] * len(own) + [0] * (longest - len(own)) for own in ids])
            padded, mask = padded.to(loaded.device), mask.to(loaded.device)
            found[members] = pick(_last_states(loaded, padded, mask), mask).float().cpu()
    return found


def _last_states(loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    plain = plain_model(loaded.model)
    if loaded.architecture == "encoder-decoder":
        encoded: torch.Tensor = plain.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        return encoded
    body = getattr(plain, plain.base_model_prefix)
    states: torch.Tensor = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return states


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indexes of texts that are run together, alike in length."""
    batch: list[int] = []
    for index in sorted(range(len(texts)), key=lambda at: len(texts[at])):
        if batch and (len(batch) + 1) * len(texts[index]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
