"""What a model gives for every token of the completions that it was trained on."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.batch import Batch
from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.batch import micro_batches
from training.data.example import Encoded
from training.data.example import Example
from training.data.example import PromptedRow
from training.data.example import encode_rows
from training.model import LoadedModel
from training.model import plain_model

MAX_TOKENS: Final = 512
"""Of one row, as in training."""
MAX_LOGITS: Final = 1 << 26
"""Numbers that one forward may make: 256 MiB in fp32."""
BATCH_TOKENS: Final = 16_384
"""Padding included."""

OnRows = Callable[[int], None]
"""Told how many rows are done. May raise, to stop."""


def encoded_for(loaded: LoadedModel, rows: Sequence[PromptedRow]) -> Encoded:
    """The rows as the model was trained on them."""
    config = plain_model(loaded.model).config
    longest = getattr(config, "max_position_embeddings", None) or MAX_TOKENS
    return encode_rows(loaded.tokenizer, rows, max_tokens=min(MAX_TOKENS, int(longest)))


def token_probabilities(
    loaded: LoadedModel, examples: Sequence[Example], *, on_rows: OnRows
) -> list[NDArray[np.float32]]:
    """For every example the probability of each token of its completion, the end token included.

    In evaluation mode, without gradients; the model's own mode is put back.
    """
    found: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(examples)
    order = sorted(range(len(examples)), key=lambda at: examples[at].tokens)
    was_training = loaded.model.training
    loaded.model.eval()
    done = 0
    try:
        with torch.no_grad():
            for part in _parts(loaded, [examples[at] for at in order]):
                for probabilities in _of_part(loaded, part):
                    found[order[done]] = probabilities
                    done += 1
                on_rows(done)
    finally:
        loaded.model.train(was_training)
    return found


def _parts(loaded: LoadedModel, examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    vocabulary = int(plain_model(loaded.model).get_output_embeddings().weight.shape[0])
    most = min(BATCH_TOKENS, max(1, MAX_LOGITS // vocabulary))
    return iter(micro_batches(examples, max_tokens=most, packed=False) if examples else [])


def _of_part(loaded: LoadedModel, examples: Sequence[Example]) -> Iterator[NDArray[np.float32]]:
    batch = _batch(loaded, examples).to(loaded.device)
    inputs = {
        name: value
        for name in ("input_ids", "attention_mask", "decoder_input_ids")
        if (value := getattr(batch, name)) is not None
    }
    logits = loaded.model(**inputs, use_cache=False).logits.flatten(0, 1).index_select(0, batch.supervised)
    log_total = logits.float().logsumexp(dim=1)
    own = logits.float().gather(1, batch.targets[:, None])[:, 0]
    flat = (own - log_total).exp().cpu().numpy()
    bounds = np.cumsum([len(example.completion_ids) for example in examples])[:-1]
    # A model that diverged gives no numbers; it has learnt nothing either.
    yield from np.split(np.nan_to_num(flat, nan=0.0), bounds)


def _batch(loaded: LoadedModel, examples: Sequence[Example]) -> Batch:
    if loaded.architecture == "decoder":
        return decoder_batch(examples, pad_id=loaded.pad_id)
    return encoder_decoder_batch(examples, pad_id=loaded.pad_id, start_id=loaded.start_id)
