"""Watches that an encoder-decoder is given its decoder's inputs, for without labels it cannot make them."""

from typing import Any

from training.integrations.errors import UnsupportedModel
from training.model import plain_model

NAMES = ("decoder_input_ids", "decoder_inputs_embeds")


def _check(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    del args
    if model.training and all(kwargs.get(name) is None for name in NAMES):
        raise UnsupportedModel(
            "the batch has no decoder_input_ids, and a Trainer with a loss function takes the labels that the "
            "model would make them of: give the data collator the model, as in "
            "DataCollatorForSeq2Seq(tokenizer, model=model)"
        )


class DecoderInputsGuard:
    """Some encoder-decoders (BART's kin) feed their decoder the source instead, and would learn nonsense in silence."""

    def __init__(self) -> None:
        self._hook: Any = None

    def watch(self, model: Any) -> None:
        """Raise UnsupportedModel from the model's forward, in training, where its decoder's inputs are missing."""
        self.leave()
        # What the data collator asks too. Encoder-decoders that classify make their decoder's inputs of the source.
        if hasattr(plain_model(model), "prepare_decoder_input_ids_from_labels"):
            self._hook = model.register_forward_pre_hook(_check, with_kwargs=True)

    def leave(self) -> None:
        """Stop watching."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
