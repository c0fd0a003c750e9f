"""Models: loading a Hugging Face directory without running anything in it, and saving one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Literal

import torch

from deploy.contract.exit_codes import ExitCode
from deploy.contract.weights import rewrite_directory
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
    stored_dtype: torch.dtype = torch.float32
    """Of the weights on disk; what is saved has it again, whatever the training computed in."""

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
    """This process's GPU where there is one (torchrun says which), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def load_model(
    directory: Path, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a checked model directory: safetensors only, no code of its own, nothing from a network.

    ``dtype`` is that of the weights in memory: fp32 on the CPU, bf16 on CUDA where None.

    Raises:
        InvalidInput: the libraries cannot load it, or it has no end-of-sequence token.
    """
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSeq2SeqLM
    from transformers import AutoTokenizer

    chosen = device or pick_device()
    held = dtype or (torch.bfloat16 if chosen.type == "cuda" else torch.float32)
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _loading():
        config = AutoConfig.from_pretrained(directory, **safe)
        architecture: Architecture = "encoder-decoder" if config.is_encoder_decoder else "decoder"
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, loading = family.from_pretrained(
            directory, use_safetensors=True, dtype=held, output_loading_info=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, **safe)
    _check_loaded(loading, tokenizer)
    model.to(chosen)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        device=chosen,
        parameters=sum(weight.numel() for weight in model.parameters()),
        stored_dtype=config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32,
    )


def load_skeleton(directory: Path, *, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A checked model directory as :func:`load_model` gives it, but its weights are nowhere (the meta device).

    ``device`` is where they will be.

    Raises:
        InvalidInput: the libraries cannot load it.
    """
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSeq2SeqLM
    from transformers import GenerationConfig

    with _loading():
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with torch.device("meta"):
            model = family.from_config(config, dtype=dtype)
        if (directory / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(directory, local_files_only=True)
    return LoadedModel(
        model=model,
        tokenizer=load_tokenizer(directory),
        architecture="encoder-decoder" if config.is_encoder_decoder else "decoder",
        device=device,
        parameters=sum(weight.numel() for weight in model.parameters()),
        stored_dtype=config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32,
    )


@contextmanager
def _loading() -> Iterator[None]:
    """What the libraries raise for a model that they cannot load is its user's to mend."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise InvalidInput(
            ExitCode.INVALID_MODEL,
            "invalid_model",
            f"the base model cannot be loaded: {error}",
            param="model",
        ) from error


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a checked model directory, without the model.

    Raises:
        InvalidInput: the libraries cannot load it.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            ExitCode.INVALID_MODEL, "invalid_model", f"the tokenizer cannot be loaded: {error}", param="model"
        ) from error


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


def saved_weights(model: Any) -> dict[str, torch.Tensor]:
    """Everything that is saved of a model by name; tied weights once, under the name that owns them."""
    own = {name for name, _ in model.named_parameters()}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - own
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def save_model(loaded: LoadedModel, directory: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write an ordinary Hugging Face directory in safetensors: any server loads it without us.

    ``weights`` by name stand for the model's own where those are only shards. Files have the precision that the
    base model's have: a server takes its own from them.
    """
    if loaded.stored_dtype != torch.float32:
        weights = {
            name: weight.to(loaded.stored_dtype) if weight.is_floating_point() else weight
            for name, weight in (weights or saved_weights(loaded.model)).items()
        }
    loaded.model.save_pretrained(directory, state_dict=weights, safe_serialization=True)
    # The library writes the precision that the model has in memory.
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), "dtype": str(loaded.stored_dtype).removeprefix("torch.")}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    loaded.tokenizer.save_pretrained(directory)
    # In the form that a server gives everything it loads: what is signed is then what is served, byte by byte.
    rewrite_directory(directory, clear=False)


def plain_model(model: Any) -> Any:
    """The transformers model inside a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
