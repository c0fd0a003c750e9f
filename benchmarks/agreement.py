"""Whether variants that claim to compute the same do: a fast wrong answer is no result."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.head import HeadInput

LOSS_TOLERANCE = 1e-5
"""Relative, fp32."""
GRADIENT_TOLERANCE = 1e-4
"""Of the norm of the difference against the norm. Sums of thousands of rows in another order differ by 1e-6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a variant computed."""

    loss: torch.Tensor
    gradients: tuple[torch.Tensor, ...]


def outcome_of(run: Callable[[HeadInput], torch.Tensor | None], given: HeadInput) -> Outcome | None:
    """Run a variant; None where it computes no loss."""
    given.forget()
    loss = run(given)
    if loss is None:
        return None
    leaves = (given.hidden_NH, given.weight_VH)
    gradients = tuple(leaf.grad.detach().clone() for leaf in leaves if leaf.grad is not None)
    given.forget()
    return Outcome(loss=loss, gradients=gradients)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-300))


def disagreements(
    outcomes: Mapping[str, Outcome | None],
    same: Sequence[Sequence[str]],
    *,
    loss_tolerance: float = LOSS_TOLERANCE,
    gradient_tolerance: float = GRADIENT_TOLERANCE,
) -> list[str]:
    """Sentences about variants that differ from the first of their group; a NaN differs from everything."""
    found: list[str] = []
    for group in same:
        present = [(name, one) for name in group if (one := outcomes.get(name)) is not None]
        for name, other in present[1:]:
            leader, first = present[0]
            if not _apart(other.loss, first.loss) <= loss_tolerance:
                found.append(f"{name}: loss {float(other.loss)}, {leader}: {float(first.loss)}")
            for which, mine, its in zip(
                ("hidden states", "head"), other.gradients, first.gradients, strict=False
            ):
                apart = _apart(mine, its)
                if not apart <= gradient_tolerance:
                    found.append(f"{name}: gradient of the {which} is {apart:.1e} away from {leader}'s")
    return found
