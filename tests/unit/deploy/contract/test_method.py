import pytest

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.method import GceLoss
from deploy.contract.method import InTrustLoss
from deploy.contract.method import LabelSmoothedLoss
from deploy.contract.method import Loss
from deploy.contract.method import describe_loss

PUBLISHED = DeceLoss(alpha_base=0.99, label_smoothing=0.05)


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (PUBLISHED, "dece(alpha_base=0.99, label_smoothing=0.05, exact)"),
        (
            DeceLoss(alpha_base="auto", label_smoothing=0.1),
            "dece(alpha_base=auto, label_smoothing=0.1, exact)",
        ),
        (CrossEntropyLoss(), "supervised"),
        (LabelSmoothedLoss(), "label_smoothing(label_smoothing=0.1)"),
        (GceLoss(), "gce(q=0.5)"),
        (InTrustLoss(), "in_trust(cross_entropy_weight=0.2, distrust_weight=0.8, delta=0.5)"),
    ],
)
def test_a_loss_is_one_line(loss: Loss, line: str) -> None:
    assert describe_loss(loss) == line


@pytest.mark.parametrize(
    "update",
    [
        {"schedule": "step"},
        {"schedule": "step", "schedule_span": 5.0},
        {"smoothing_spread": "all"},
        {"mode": "parity"},
    ],
)
def test_losses_that_differ_do_not_read_the_same(update: dict[str, object]) -> None:
    assert describe_loss(PUBLISHED.model_copy(update=update)) != describe_loss(PUBLISHED)
    by_step = PUBLISHED.model_copy(update={"schedule": "step"})
    assert describe_loss(by_step.model_copy(update={"schedule_span": 7.0})) != describe_loss(by_step)
