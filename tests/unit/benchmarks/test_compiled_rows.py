"""The rows that are given to torch.compile are DeCE."""

import pytest
import torch

from benchmarks import compiled_rows
from benchmarks.compiled_rows import CompiledDeceRows
from training.losses.dece import DeceRows


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formulas alone: a minute of compiling is what the benchmark is for."""
    monkeypatch.setattr(compiled_rows, "_compiled", lambda: compiled_rows._rows)


@pytest.mark.parametrize("spread", ["others", "all"])
def test_they_are_the_plain_rows(spread: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 6.0 * torch.randn(20, 50, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 50, (20,), generator=generator)
    scale = torch.rand(20, dtype=torch.float64, generator=generator)
    expected_slope, slope = logits.clone(), logits.clone()
    options = {"alpha": 0.7, "label_smoothing": 0.1, "spread": spread}
    expected = DeceRows(**options).rows_(expected_slope, targets, scale)  # type: ignore[arg-type]
    found = CompiledDeceRows(**options).rows_(slope, targets, scale)  # type: ignore[arg-type]
    assert torch.allclose(found.loss, expected.loss, rtol=1e-10, atol=0)
    assert torch.allclose(found.pull, expected.pull, rtol=1e-8, atol=1e-15)
    assert torch.allclose(found.others, expected.others, rtol=1e-10, atol=0)
    assert torch.allclose(slope, expected_slope, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.0, "label_smoothing": 0.1},
        {"alpha": 0.9, "label_smoothing": 0.0},
        {"alpha": 0.9, "label_smoothing": 0.1, "mode": "parity"},
    ],
)
def test_other_cases_are_refused(options: dict[str, object]) -> None:
    row = CompiledDeceRows(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exact DeCE"):
        row.rows_(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long), torch.ones(1))
