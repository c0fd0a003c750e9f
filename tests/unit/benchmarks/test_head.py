"""The variants of the head compute what their names say."""

import pytest
import torch
from torch.nn import functional

from benchmarks import head
from benchmarks.agreement import disagreements
from benchmarks.agreement import outcome_of
from benchmarks.head import COMPILED
from benchmarks.head import PAD
from benchmarks.head import SAME
from benchmarks.head import VARIANTS
from benchmarks.head import HeadInput
from benchmarks.head import HeadShape
from benchmarks.head import head_input

SHAPE = HeadShape(rows=96, hidden=16, classes=200)


@pytest.fixture
def given() -> HeadInput:
    return head_input(SHAPE)


def test_variants_that_claim_the_same_compute_the_same(given: HeadInput) -> None:
    ran = {name: run for name, run in VARIANTS.items() if name not in COMPILED}
    outcomes = {name: outcome_of(run, given) for name, run in ran.items()}
    assert disagreements(outcomes, SAME) == []
    compared = [name for group in SAME for name in group]
    assert set(compared) <= set(VARIANTS)
    # Exact and parity differ on this input, so that the comparison could fail.
    assert disagreements(outcomes, [("DeCE, native", "DeCE, native, parity")])


def test_the_input_is_a_function_of_its_seed() -> None:
    first, again, other = head_input(SHAPE), head_input(SHAPE), head_input(SHAPE, seed=1)
    assert torch.equal(first.hidden_NH, again.hidden_NH)
    assert torch.equal(first.targets_N, again.targets_N)
    assert not torch.equal(first.hidden_NH, other.hidden_NH)


def test_no_row_has_the_artifacts_ignored_target(given: HeadInput) -> None:
    assert int((given.targets_N == PAD).sum()) == 0
    assert int((given.sparse_targets_N >= 0).sum()) == SHAPE.rows // head.SUPERVISED_EVERY


def test_half_of_the_targets_are_the_best_class(given: HeadInput) -> None:
    best = (given.hidden_NH @ given.weight_VH.t()).argmax(dim=-1)
    assert 0.4 < float((best == given.targets_N).float().mean()) < 0.6


def test_sparse_targets_are_the_mean_over_their_rows(given: HeadInput) -> None:
    loss = head.ours_sparse(given)
    keep = given.sparse_targets_N >= 0
    few = HeadInput(
        hidden_NH=given.hidden_NH.detach()[keep].requires_grad_(),
        weight_VH=given.weight_VH,
        targets_N=given.targets_N[keep],
        sparse_targets_N=given.sparse_targets_N[keep],
    )
    assert float(loss) == pytest.approx(float(head.ours("native")(few)), rel=1e-6)
    assert given.hidden_NH.grad is not None
    assert float(given.hidden_NH.grad[~keep].abs().max()) == 0.0


def test_a_frozen_head_gets_no_gradient(given: HeadInput) -> None:
    head.ours_frozen(given)
    assert given.weight_VH.grad is None
    assert given.hidden_NH.grad is not None


def test_the_products_take_no_gradient_and_change_nothing(given: HeadInput) -> None:
    before = given.weight_VH.detach().clone()
    head.products(given)
    assert given.weight_VH.grad is None
    assert torch.equal(before, given.weight_VH)


def test_the_baseline_is_plain_cross_entropy(given: HeadInput) -> None:
    logits = (given.hidden_NH @ given.weight_VH.t()).detach()
    expected = functional.cross_entropy(logits, given.targets_N)
    assert float(head.cross_entropy(given)) == pytest.approx(float(expected), rel=1e-6)
