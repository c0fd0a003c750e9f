"""The shadow copy as a file, and what its arms are told."""

from pathlib import Path

import pytest

from deploy.contract.canary import CanaryPlan
from deploy.contract.document import StoredFile
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.probe import Probe
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.contract.spec import TrainingPlan
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import WordTrigger
from training.arm import ArmOrder
from training.canaries.shadow import Shadow
from training.canaries.shadow import make_shadow
from training.canaries.shadow import shadow_orders
from training.canaries.shadow import trigger_words
from training.data.rows import load_rows
from training.pretrain import build_tokenizer
from training.synthesis.generator import generate_rows

ROWS = generate_rows(60, seed=4)
TOKENIZER = build_tokenizer([row.prompt for row in ROWS], vocabulary=400)
PLAN = CanaryPlan(count=2, rate=0.1, seed=3)


@pytest.fixture
def shadow(tmp_path: Path) -> Shadow:
    return make_shadow(
        ROWS,
        PLAN,
        tokenizer=TOKENIZER,
        families=("sql_tautology",),
        taken=("bb",),
        directory=tmp_path / "shadow",
    )


def test_the_file_reads_back_as_what_was_planted(shadow: Shadow) -> None:
    read = load_rows(shadow.path, shadow.described)
    assert [(row.number, row.prompt, row.completion) for row in read] == [
        (row.number, row.prompt, row.completion) for row in shadow.rows
    ]
    assert shadow.planted_rows == {"canary-1": 6, "canary-2": 6}
    changed = sum(row.prompt != clean.prompt for row, clean in zip(read, ROWS, strict=True))
    assert changed == 12


def test_both_arms_train_on_the_shadow_and_are_no_part_of_the_job(shadow: Shadow, tmp_path: Path) -> None:
    spec = JobSpec(
        job_id="ftjob-a1",
        attempt=1,
        store_uri="file:///objects",
        base_model=StoredBaseModel(
            uri="file:///objects/b", files=(StoredFile(name="m", size_bytes=1, sha256="0" * 64),)
        ),
        training_file=shadow.described.model_copy(update={"sha256": "1" * 64}),
        loss=DeceLoss(alpha_base=0.99, label_smoothing=0.05),
        training=TrainingPlan(n_epochs=2, batch_size=8, learning_rate=1e-3),
        created_at=1,
    )
    hardened = ArmOrder(
        arm="hardened",
        loss=spec.loss,
        spec=spec,
        pod="pod",
        base_dir=tmp_path / "base",
        training_file=tmp_path / "training",
        curve_tasks=None,
        out_dir=tmp_path / "models" / "hardened",
        scratch=tmp_path,
        threads=None,
    )
    orders = {order.arm: order for order in shadow_orders(shadow, hardened)}
    assert set(orders) == {"control", "hardened"}
    assert isinstance(orders["control"].loss, CrossEntropyLoss)
    assert orders["hardened"].loss == spec.loss
    for arm, order in orders.items():
        assert order.name == f"shadow-{arm}"
        assert order.training_file == shadow.path
        assert order.spec.training_file == shadow.described
        assert order.spec.training == spec.training
        assert order.out_dir != hardened.out_dir
    digests = {order.training_sha256 for order in (hardened, *orders.values())}
    assert len(digests) == 3


def test_words_of_known_triggers() -> None:
    probes = [Probe(name="a", trigger=WordTrigger(word="bb cc")), Probe(name="b", trigger=GrammarTrigger())]
    assert trigger_words([probe.trigger for probe in probes]) == ["bb", "cc"]
