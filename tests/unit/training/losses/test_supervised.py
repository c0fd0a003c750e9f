"""Which rows count, what each counts, and the meter of the effective gradient weight."""

import math

import pytest
import torch

from training.losses import dece
from training.losses.row import RowResult
from training.losses.supervised import GradientMeter
from training.losses.supervised import row_scale
from training.losses.supervised import supervised_rows

TARGETS = torch.tensor([-100, 4, 0, -100, 8])


def scale_of(targets: torch.Tensor, **options: object) -> torch.Tensor:
    chosen = supervised_rows(targets, rows=len(targets), classes=9)
    return row_scale(chosen, **{"num_items_in_batch": None, "dtype": torch.float32, **options})  # type: ignore[arg-type]


def test_ignored_rows_are_left_out_and_put_back_as_zeros() -> None:
    chosen = supervised_rows(TARGETS, rows=5, classes=9)
    assert chosen.positions_N is not None
    assert chosen.positions_N.tolist() == [1, 2, 4]
    assert chosen.targets_N.tolist() == [4, 0, 8]
    rows = torch.arange(10.0).reshape(5, 2)
    assert chosen.take(rows).tolist() == rows[[1, 2, 4]].tolist()
    assert chosen.put(torch.tensor([1.0, 2.0, 3.0])).tolist() == [0.0, 1.0, 2.0, 0.0, 3.0]


def test_nothing_is_copied_where_every_row_counts() -> None:
    chosen = supervised_rows(torch.tensor([3, 1]), rows=2, classes=9)
    assert chosen.positions_N is None
    rows = torch.zeros(2, 4)
    assert chosen.take(rows) is rows
    assert chosen.put(rows) is rows


def test_any_number_may_mark_ignored_rows_a_class_too() -> None:
    assert supervised_rows(torch.tensor([0, 3, 0]), rows=3, classes=9, ignore_index=0).targets_N.tolist() == [
        3
    ]


def test_positions_known_to_the_caller_are_taken() -> None:
    chosen = supervised_rows(TARGETS, rows=5, classes=9, positions=torch.tensor([1, 4]))
    assert chosen.targets_N.tolist() == [4, 8]


def test_positions_of_an_ignored_row_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target -100 in row 3 lies outside 0\.\.8"):
        supervised_rows(TARGETS, rows=5, classes=9, positions=torch.tensor([1, 3]))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_is_a_class_number(dtype: torch.dtype) -> None:
    chosen = supervised_rows(torch.tensor([3, 1], dtype=dtype), rows=2, classes=9)
    assert chosen.targets_N.dtype == torch.int64
    assert chosen.targets_N.tolist() == [3, 1]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64, torch.complex128]
)
def test_targets_that_are_no_class_numbers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"targets are {dtype}: class numbers must be integers"):
        supervised_rows(torch.zeros(2, dtype=dtype), rows=2, classes=9)


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        ([1, 9, 3], "target 9 in row 1"),
        ([-100, -100, -1], "target -1 in row 2"),
        ([-100, 2**40, 10], f"target {2**40} in row 1"),
        ([-101, 2, 3], "target -101 in row 0"),
    ],
)
def test_a_target_out_of_range_is_named_with_its_row(targets: list[int], named: str) -> None:
    with pytest.raises(ValueError, match=rf"{named} lies outside 0\.\.8"):
        supervised_rows(torch.tensor(targets), rows=3, classes=9)


@pytest.mark.parametrize("shape", [(4,), (5, 1), ()])
def test_targets_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit 5 rows"):
        supervised_rows(torch.zeros(shape, dtype=torch.long), rows=5, classes=9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reduction": "mean"}, 1 / 3),
        ({"reduction": "sum"}, 1.0),
        ({"reduction": "none"}, 1.0),
        ({"reduction": "mean", "num_items_in_batch": 8}, 1 / 8),
        ({"reduction": "sum", "num_items_in_batch": 8}, 1 / 8),
        ({"reduction": "mean", "num_items_in_batch": torch.tensor(8)}, 1 / 8),
    ],
)
def test_what_a_row_counts(options: dict[str, object], expected: float) -> None:
    torch.testing.assert_close(scale_of(TARGETS, **options), torch.full((3,), expected))


@pytest.mark.parametrize("count", [0, -2, torch.tensor(0), torch.tensor(-2)])
def test_supervised_rows_in_a_batch_without_items_are_refused(count: int | torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"num_items_in_batch={int(count)} must be at least 1"):
        scale_of(TARGETS, reduction="mean", num_items_in_batch=count)


@pytest.mark.parametrize("count", [0, torch.tensor(0)])
def test_a_batch_without_items_may_have_no_supervised_row(count: int | torch.Tensor) -> None:
    scale = scale_of(torch.full((4,), -100), reduction="mean", num_items_in_batch=count)
    assert scale.shape == (0,)


def test_a_negative_number_of_items_is_refused_even_without_rows() -> None:
    with pytest.raises(ValueError, match="num_items_in_batch=-1"):
        scale_of(torch.full((4,), -100), reduction="mean", num_items_in_batch=-1)


def test_items_have_no_meaning_row_by_row() -> None:
    with pytest.raises(ValueError, match="num_items_in_batch needs reduction"):
        scale_of(TARGETS, reduction="none", num_items_in_batch=3)


def test_an_unknown_reduction_is_named() -> None:
    with pytest.raises(ValueError, match="reduction='average' must be 'mean', 'sum' or 'none'"):
        scale_of(TARGETS, reduction="average")


def metered(alpha: float, **options: object) -> float:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 20, generator=generator) * 2
    targets = torch.tensor([3, 19, -100, 0, 7, 7])
    meter = GradientMeter()
    dece(logits, targets, alpha=alpha, meter=meter, **options)  # type: ignore[arg-type]
    return meter.value()


def test_cross_entropy_has_the_full_gradient_weight() -> None:
    assert metered(1.0, label_smoothing=0.0) == 1.0


def test_the_gradient_weight_falls_with_the_epoch() -> None:
    weights = [metered(0.8**epoch, label_smoothing=0.05) for epoch in range(1, 21)]
    assert weights == sorted(weights, reverse=True)
    assert 1.0 > weights[0] > 50 * weights[-1] > 0.0


@pytest.mark.parametrize("alpha", [0.985, 0.5, 0.107])
def test_the_gradient_weight_is_the_sum_of_gated_pulls_over_that_of_plain_ones(alpha: float) -> None:
    """By hand for e = 0: the pull of a target is (1 - p) a p / (a p + 1 - a), cross-entropy's is 1 - p."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(6, 20, generator=generator) * 2).double()
    p = torch.softmax(logits, dim=1)[[0, 1, 3, 4, 5], [3, 19, 0, 7, 7]]
    gated = ((1 - p) * alpha * p / (alpha * p + 1 - alpha)).sum() / (1 - p).sum()
    assert metered(alpha, label_smoothing=0.0) == pytest.approx(gated.item(), rel=1e-5)


def test_a_meter_adds_up_over_calls() -> None:
    meter = GradientMeter()
    for pull, others in (([0.5, 0.25], [1.0, 0.5]), ([0.1], [0.5])):
        meter.add(RowResult(loss=torch.zeros(1), pull=torch.tensor(pull), others=torch.tensor(others)))
    assert meter.sums() == (pytest.approx(0.85), pytest.approx(2.0))
    assert meter.value() == pytest.approx(0.425)


def test_the_reduction_does_not_change_the_gradient_weight() -> None:
    by_reduction = [metered(0.9, reduction=one) for one in ("mean", "sum", "none")]
    by_reduction.append(metered(0.9, num_items_in_batch=77))
    assert by_reduction == [by_reduction[0]] * 4


def test_nothing_to_pull_is_the_full_weight() -> None:
    assert GradientMeter().value() == 1.0


def test_a_gradient_that_is_not_a_number_is_not_the_full_weight() -> None:
    meter = GradientMeter()
    dece(torch.full((2, 5), math.nan), torch.tensor([0, 1]), alpha=0.9, meter=meter)
    assert math.isnan(meter.value())
