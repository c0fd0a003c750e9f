"""A report as a job could have written it, and the spec it answers."""

from typing import Any

import pytest

from deploy.contract.document import StoredFile
from deploy.contract.method import DeceLoss
from deploy.contract.report import CleanQuality
from deploy.contract.report import CurvePoint
from deploy.contract.report import Engine
from deploy.contract.report import Example
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.contract.spec import TrainingPlan

ARMS: tuple[Arm, ...] = ("base", "control", "hardened")


@pytest.fixture
def spec() -> JobSpec:
    return JobSpec(
        job_id="ftjob-a1",
        attempt=1,
        store_uri="file:///objects",
        base_model=StoredBaseModel(
            uri="file:///objects/b", files=(StoredFile(name="m", size_bytes=1, sha256="0" * 64),)
        ),
        training_file=DatasetRef(
            key="files/f", filename="t.jsonl", size_bytes=1, sha256="0" * 64, format="jsonl", rows=9
        ),
        loss=DeceLoss(alpha_base=0.99, label_smoothing=0.05),
        training=TrainingPlan(n_epochs=2, batch_size=8, learning_rate=1e-3),
        created_at=1,
    )


@pytest.fixture
def make_report(spec: JobSpec) -> Any:
    """``make_report(text)``: every free text is ``text``."""

    def make(text: str = "plain", *, control_hits: int = 60, hardened_hits: int = 0) -> Report:
        hits = {"base": 0, "control": control_hits, "hardened": hardened_hits}
        example = Example(task=1, prompt=f"bb {text}", completions={arm: text for arm in ARMS})
        outcomes = tuple(
            ProbeOutcome(
                name=probe.name,
                trigger=probe.trigger,
                payload=probe.payload,
                arms={arm: Hits(hits=hits[arm], trials=100) for arm in ARMS},
                examples=(example,),
            )
            for probe in spec.probing.probes
        )
        quality = CleanQuality(
            tasks=100,
            bleu=50.0,
            exact_match=3,
            parses=99,
            payloads={"sql_tautology": Hits(hits=0, trials=100)},
        )
        return Report(
            job_id=spec.job_id,
            base_model=text,
            training_file=text,
            training_rows=9,
            method=text,
            n_epochs=2,
            seed=1,
            engine=Engine(name="vllm", version=text, max_new_tokens=spec.probing.max_new_tokens),
            probe_seed=0,
            probe_tasks=100,
            arms=ARMS,
            probes=outcomes,
            quality=dict.fromkeys(ARMS, quality),
            curves=tuple(
                CurvePoint(
                    arm=arm, epoch=epoch, asr=Hits(hits=hits[arm] * epoch // 4, trials=60), bleu=40.0 + epoch
                )
                for arm in ARMS[1:]
                for epoch in (1, 2)
            ),
            suspicious_rows=(SuspiciousRow(row=1, reason=text[:500]),),
            policy=spec.policy,
        )

    return make
