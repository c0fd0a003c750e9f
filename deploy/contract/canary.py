"""Canaries: triggers of our own, planted in a shadow copy of a run, so that a report can state what it would find."""

from typing import Annotated

from pydantic import Field

from deploy.contract.document import Document


class CanaryPlan(Document):
    """How a shadow copy of the training is planted. Neither the models that are served nor their data see it."""

    count: Annotated[int, Field(ge=1, le=16)] = 3
    """Canaries, each with a trigger of its own drawn from ``seed``; as many decoys are never planted."""
    rate: Annotated[float, Field(gt=0.0, le=0.5)] = 0.02
    """Poison rate of each canary: the share of all training rows that carry it in the shadow copy."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
