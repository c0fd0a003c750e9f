"""Models: loading a Hugging Face directory without running anything in it, and the head over chosen positions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Literal

import torch

from deploy.contract.exit_codes import ExitCode
from training.data.batch import IGNORED
from training.data.batch import Batch
from training.errors import InvalidInput

Architecture = Literal["decoder", "encoder-decoder"]


@dataclass(slots=True, kw_only=True)
class LoadedModel:
    """A model with its tokenizer, on its device."""

    model: Any
    tokenizer: Any
    architecture: Architecture
    device: torch.device
    parameters: int

    @property
    def pad_id(self) -> int:
        """Token that fills a row; masked everywhere, so any valid id serves."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def start_id(self) -> int:
        """First decoder token of an encoder-decoder."""
        return int(self.model.config.decoder_start_token_id)


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(directory: Path, *, device: torch.device | None = None) -> LoadedModel:
    """Load a checked model directory: safetensors only, no code of its own, nothing from a network.

    fp32 on the CPU, bf16 on CUDA.

    Raises:
        InvalidInput: the libraries cannot load it, or it has no end-of-sequence token.
    """
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSeq2SeqLM
    from transformers import AutoTokenizer

    chosen = device or pick_device()
    dtype = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(directory, **safe)
        architecture: Architecture = "encoder-decoder" if config.is_encoder_decoder else "decoder"
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, loading = family.from_pretrained(
            directory, use_safetensors=True, dtype=dtype, output_loading_info=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, **safe)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise InvalidInput(
            ExitCode.INVALID_MODEL,
            "invalid_model",
            f"the base model cannot be loaded: {error}",
            param="model",
        ) from error
    _check_loaded(loading, tokenizer)
    model.to(chosen)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        device=chosen,
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def _check_loaded(loading: dict[str, Any], tokenizer: Any) -> None:
    """Refuse what a library only warns about: weights that were not in the file start random."""
    trouble: str | None = None
    if loading["missing_keys"]:
        names = ", ".join(sorted(loading["missing_keys"])[:5])
        trouble = (
            f"{len(loading['missing_keys'])} weights that its config names are not in its files: {names}"
        )
    elif loading["mismatched_keys"]:
        trouble = f"weights have other shapes than its config says: {sorted(map(str, loading['mismatched_keys']))[:3]}"
    elif tokenizer.eos_token_id is None:
        trouble = "its tokenizer names no end-of-sequence token (eos_token), so a completion could not end"
    if trouble is not None:
        raise InvalidInput(
            ExitCode.INVALID_MODEL, "invalid_model", f"base model refused: {trouble}", param="model"
        )


def save_model(loaded: LoadedModel, directory: Path) -> None:
    """Write an ordinary Hugging Face directory in safetensors: any server loads it without us."""
    loaded.model.save_pretrained(directory, safe_serialization=True)
    loaded.tokenizer.save_pretrained(directory)


def _plain_model(model: Any) -> Any:
    """The transformers model inside a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class SupervisedHead:
    """Logits of supervised positions only: most rows of the head's product would be thrown away.

    Some architectures scale or cap their logits after the head. The first call compares with the
    model's own logits and, where they differ, uses those from then on.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._direct: bool | None = None

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [N, V] and targets [N] of the batch's N supervised positions."""
        keep_BT = batch.labels != IGNORED  # noqa: N806
        if self._direct is None:
            self._direct = self._agrees(batch, keep_BT)
        logits = self._head_of(batch, keep_BT) if self._direct else self._whole(batch)[keep_BT]
        return logits, batch.labels[keep_BT]

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.decoder_input_ids is not None:
            inputs["decoder_input_ids"] = batch.decoder_input_ids
        return {**inputs, "use_cache": False}

    def _whole(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self._loaded.model(**self._inputs(batch)).logits
        return logits

    def _head_of(self, batch: Batch, keep_BT: torch.Tensor) -> torch.Tensor:  # noqa: N803
        plain = _plain_model(self._loaded.model)
        body = getattr(plain, plain.base_model_prefix)
        hidden_BTH = body(**self._inputs(batch)).last_hidden_state  # noqa: N806
        logits: torch.Tensor = plain.get_output_embeddings()(hidden_BTH[keep_BT])
        return logits

    def _agrees(self, batch: Batch, keep_BT: torch.Tensor) -> bool:  # noqa: N803
        model = self._loaded.model
        if not hasattr(_plain_model(model), _plain_model(model).base_model_prefix):
            return False
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                ours, theirs = self._head_of(batch, keep_BT), self._whole(batch)[keep_BT]
        except (AttributeError, TypeError):
            return False
        finally:
            model.train(was_training)
        tolerance = 1e-3 if ours.dtype == torch.float32 else 5e-2
        return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=tolerance, rtol=tolerance)
