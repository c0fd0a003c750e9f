"""A fast wrong answer is no result."""

import math

import pytest
import torch

from benchmarks.agreement import Outcome
from benchmarks.agreement import disagreements
from benchmarks.agreement import outcome_of
from benchmarks.head import HeadInput
from benchmarks.head import HeadShape
from benchmarks.head import head_input

SAME = (("a", "b", "c"),)


def outcome(loss: float, *gradients: float) -> Outcome:
    return Outcome(loss=torch.tensor(loss), gradients=tuple(torch.tensor([one, 2.0]) for one in gradients))


def test_equal_results_agree() -> None:
    found = disagreements({"a": outcome(1.0, 3.0), "b": outcome(1.000001, 3.00001)}, SAME)
    assert found == []


@pytest.mark.parametrize("loss", [1.0001, math.nan, math.inf])
def test_another_loss_is_named(loss: float) -> None:
    found = disagreements({"a": outcome(1.0), "b": outcome(1.0), "c": outcome(loss)}, SAME)
    assert len(found) == 1
    assert found[0].startswith("c: loss ")


@pytest.mark.parametrize("gradient", [3.01, math.nan])
def test_another_gradient_is_named(gradient: float) -> None:
    found = disagreements({"a": outcome(1.0, 3.0, 3.0), "b": outcome(1.0, 3.0, gradient)}, SAME)
    assert len(found) == 1
    assert found[0].startswith("b: gradient of the head is ")


def test_variants_that_did_not_run_are_not_compared() -> None:
    assert disagreements({"a": None, "b": outcome(1.0)}, SAME) == []
    # The first that ran is what the others are compared with.
    assert len(disagreements({"a": None, "b": outcome(1.0), "c": outcome(2.0)}, SAME)) == 1


def test_an_outcome_holds_gradients_and_leaves_none() -> None:
    given = head_input(HeadShape(rows=4, hidden=8, classes=16))

    def run(given: HeadInput) -> torch.Tensor:
        loss = given.hidden_NH.sum() + 2.0 * given.weight_VH.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    found = outcome_of(run, given)
    assert found is not None
    assert [float(one.mean()) for one in found.gradients] == [1.0, 2.0]
    assert given.hidden_NH.grad is None
    assert given.weight_VH.grad is None
    assert outcome_of(lambda given: None, given) is None
