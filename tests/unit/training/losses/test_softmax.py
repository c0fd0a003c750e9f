"""Softmax that stays exact over long rows, where torch's own drifts on a CPU."""

import pytest
import torch

from training.losses import softmax as module
from training.losses.softmax import log_softmax
from training.losses.softmax import softmax


@pytest.mark.parametrize("classes", [2, 32_768, 32_769, 300_000])
@pytest.mark.parametrize("scale", [0.1, 5.0, 30.0])
def test_probabilities_and_their_logarithms_are_exact(classes: int, scale: float) -> None:
    logits = torch.randn(2, classes, generator=torch.Generator().manual_seed(classes)) * scale
    truth = torch.log_softmax(logits.double(), dim=1)
    off = (softmax(logits).double() - truth.exp()).norm(dim=1) / truth.exp().norm(dim=1)
    assert off.max() <= (4e-6 if classes == 32_768 else 1e-6)
    torch.testing.assert_close(log_softmax(logits).double(), truth, rtol=1e-6, atol=4e-6)


def test_short_rows_pay_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2, 100)
    assert torch.equal(softmax(logits), torch.softmax(logits, dim=1))
    assert torch.equal(log_softmax(logits), torch.log_softmax(logits, dim=1))
    monkeypatch.setattr(module, "LONG_ROW", 10)
    torch.testing.assert_close(softmax(logits), torch.softmax(logits, dim=1))
    torch.testing.assert_close(log_softmax(logits), torch.log_softmax(logits, dim=1))


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_masked_classes_and_rows_that_are_not_numbers_stay_what_they_are(function: object) -> None:
    logits = torch.zeros(2, 70_000)
    logits[0, 5:] = -torch.inf
    logits[1, 3] = torch.nan
    out = function(logits)  # type: ignore[operator]
    assert torch.isfinite(out[0, :5]).all()
    assert (out[0, 5:] == (0.0 if function is softmax else -torch.inf)).all()
    assert out[1].isnan().all()


def test_the_given_logits_are_left_alone() -> None:
    logits = torch.randn(1, 70_000)
    before = logits.clone()
    softmax(logits)
    log_softmax(logits)
    assert torch.equal(logits, before)
