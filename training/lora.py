"""Low-rank adapters through peft: added before training, merged before anything is stored or probed."""

from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import Lora
from training.errors import InvalidInput
from training.model import LoadedModel


def add_lora(loaded: LoadedModel, lora: Lora) -> None:
    """Freeze the model and put adapters on its linear layers (the head excepted).

    Raises:
        InvalidInput: the model has no linear layer that peft knows.
    """
    from peft import LoraConfig
    from peft import TaskType
    from peft import get_peft_model

    task = TaskType.CAUSAL_LM if loaded.architecture == "decoder" else TaskType.SEQ_2_SEQ_LM
    config = LoraConfig(
        task_type=task,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )
    try:
        loaded.model = get_peft_model(loaded.model, config)
    except ValueError as error:
        raise InvalidInput(
            ExitCode.UNSUPPORTED,
            "adapter_unsupported",
            f"LoRA cannot be added to this model: {error}",
            param="hardening.adapter",
        ) from error


def merge_lora(loaded: LoadedModel) -> None:
    """Fold the adapters into the weights: what is probed and served is one ordinary model."""
    loaded.model = loaded.model.merge_and_unload()
