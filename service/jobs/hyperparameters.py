"""What ``auto`` becomes. Recorded in the job and in its spec, so that nobody has to guess later."""

from dataclasses import dataclass
from typing import Final

from deploy.contract.method import Hyperparameters

SMALL_DATASET_ROWS: Final = 10_000
EPOCHS_OF_SMALL: Final = 12
"""The early-learning gap between the arms opens between epochs 3 and 9 on 1,600 rows (reference run)."""
EPOCHS_OF_LARGE: Final = 3
BATCH_SIZE: Final = 8
LEARNING_RATES: Final = ((50_000_000, 2e-3), (500_000_000, 2e-4))
"""Parameters below which a learning rate holds; small models need and bear larger steps."""
LEARNING_RATE_OF_LARGE: Final = 5e-5
ADAPTER_FACTOR: Final = 10.0
"""Low-rank updates are customarily trained with steps ten times as large."""
HIGHEST_LEARNING_RATE: Final = 10.0
"""What a spec may carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Hyperparameters without any ``auto``."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    """Before the multiplier."""

    @property
    def peak_learning_rate(self) -> float:
        """What the optimizer gets."""
        return self.learning_rate * self.learning_rate_multiplier


def resolve(asked: Hyperparameters, *, rows: int, parameters: int | None, adapter: bool) -> Resolved:
    """Choose what was left to ``auto``.

    Args:
        asked: as the user gave them.
        rows: of the training file.
        parameters: weights of the base model; None when only its job will know (a hub model).
        adapter: whether LoRA is trained.

    Raises:
        ValueError: the multiplier takes the learning rate out of range.
    """
    auto_epochs = EPOCHS_OF_SMALL if rows <= SMALL_DATASET_ROWS else EPOCHS_OF_LARGE
    resolved = Resolved(
        n_epochs=auto_epochs if asked.n_epochs == "auto" else asked.n_epochs,
        batch_size=BATCH_SIZE if asked.batch_size == "auto" else asked.batch_size,
        learning_rate_multiplier=(
            1.0 if asked.learning_rate_multiplier == "auto" else asked.learning_rate_multiplier
        ),
        learning_rate=(
            _learning_rate(parameters, adapter=adapter)
            if asked.learning_rate == "auto"
            else asked.learning_rate
        ),
    )
    if resolved.peak_learning_rate > HIGHEST_LEARNING_RATE:
        raise ValueError(
            f"learning_rate {resolved.learning_rate:g} times learning_rate_multiplier "
            f"{resolved.learning_rate_multiplier:g} is larger than {HIGHEST_LEARNING_RATE:g}"
        )
    return resolved


def _learning_rate(parameters: int | None, *, adapter: bool) -> float:
    full = LEARNING_RATE_OF_LARGE
    if parameters is not None:
        full = next((rate for limit, rate in LEARNING_RATES if parameters < limit), full)
    return full * ADAPTER_FACTOR if adapter else full
