"""Progress of a job: what it appends to its event segments."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document

Phase = Literal["preparing", "training", "probing", "scanning", "uploading", "committing"]


class JobEvent(Document):
    """One line of an event segment.

    ``metrics`` events carry in ``data``: arm, epoch, n_epochs, step, total_steps, loss, learning_rate,
    tokens_per_second, grad_norm, gradient_weight, eta_s. ``curve`` data: arm, epoch, asr_hits, asr_trials, bleu.
    ``checkpoint`` data: arm, step, epoch, prefix, train_loss. Probing and scanning count in ``metrics`` events
    whose data are done and total.
    """

    sequence: Annotated[int, Field(ge=0)]
    """Counts up by one within one start of one attempt."""
    at: Annotated[float, Field(ge=0.0)]
    """Unix seconds, for display only."""
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    message: Annotated[str, Field(max_length=2000)]
    phase: Phase
    data: Annotated[dict[str, Any], Field(default_factory=dict)]
