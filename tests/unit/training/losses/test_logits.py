"""The head's product, in one piece or in several."""

import pytest
import torch

from training.losses.logits import CLASSES_AT_A_TIME
from training.losses.logits import logits_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("beyond", [-CLASSES_AT_A_TIME + 2, 0, 1, CLASSES_AT_A_TIME + 7])
def test_it_is_the_whole_product(dtype: torch.dtype, beyond: int) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = CLASSES_AT_A_TIME * torch.get_num_threads() + beyond
    hidden = torch.randn(5, 8, generator=generator).to(dtype)
    weight = torch.randn(classes, 8, generator=generator).to(dtype)
    memory = torch.full((7, classes), torch.nan, dtype=dtype)
    out = memory[:5]
    assert logits_(hidden, weight, out) is out
    expected = hidden.double() @ weight.double().t()
    torch.testing.assert_close(
        out.double(),
        expected,
        rtol=2e-2 if dtype == torch.bfloat16 else 1e-5,
        atol=2e-2 if dtype == torch.bfloat16 else 1e-5,
    )
    assert memory[5:].isnan().all()


def test_no_rows_are_no_logits() -> None:
    classes = 3 * CLASSES_AT_A_TIME * torch.get_num_threads()
    assert logits_(torch.empty(0, 4), torch.ones(classes, 4), torch.empty(0, classes)).shape == (0, classes)
