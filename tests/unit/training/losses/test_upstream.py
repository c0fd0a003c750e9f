"""What becomes of gradients that the forward pass has formed."""

import pytest
import torch

from training.losses.upstream import passed_on


def test_one_hands_the_gradient_on_without_a_copy() -> None:
    gradient = torch.randn(4, 3)
    assert passed_on(gradient, torch.tensor(1.0)) is gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("upstream", [torch.tensor(0.25), torch.tensor([[1.0], [2.0], [0.0], [-1.0]])])
def test_anything_else_scales_a_copy_in_the_gradients_precision(
    dtype: torch.dtype, upstream: torch.Tensor
) -> None:
    gradient = torch.randn(4, 3).to(dtype)
    before = gradient.clone()
    found = passed_on(gradient, upstream)
    assert found.dtype == dtype
    assert torch.equal(found.float(), (before.float() * upstream).to(dtype).float())
    assert torch.equal(gradient, before)


def test_elsewhere_the_gradient_is_scaled_in_place_and_nothing_is_asked() -> None:
    """The meta device stands for a GPU: asking it for a value raises."""
    gradient = torch.empty(4, 3, dtype=torch.bfloat16, device="meta")
    assert passed_on(gradient, torch.empty((), device="meta")) is gradient
    assert passed_on(gradient, torch.empty(4, 1, device="meta")) is gradient


def test_not_a_number_is_handed_on() -> None:
    assert passed_on(torch.ones(2), torch.tensor(float("nan"))).isnan().all()
