"""A job without any training: writes what a real one writes, in the same order. Scripted by its seed.

Run as ``python job.py --spec URI --sha256 HEX``, or call :func:`run` in a test's own process.
"""

import argparse
import os
import signal
import sys
import time
from types import FrameType

from deploy.contract import layout
from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.event import JobEvent
from deploy.contract.report import CleanQuality
from deploy.contract.report import CurvePoint
from deploy.contract.report import Engine
from deploy.contract.report import Example
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.result import JobFailure
from deploy.contract.result import JobResult
from deploy.contract.result import ModelArtifact
from deploy.contract.result import StoredObject
from deploy.contract.spec import Arm
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.store.opening import locate
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore

SLOW = 7
"""Trains for a minute; SIGTERM interrupts it after a checkpoint."""
REFUSES = 42
BREAKS = 52
FULL = 53
"""Ends as a real job does whose disk is full."""
SILENT = 1
"""Ends with 0 and commits nothing."""
LIES = 13
"""Commits a result whose weights are others than it says."""
KILLED_AFTER_COMMIT = 99
STEPS = 4


class Interrupted(Exception):  # noqa: N818
    """SIGTERM came."""


def run(uri: str, sha256: str, pod: str, *, pause_s: float = 0.0) -> int:
    """One start. Returns the exit status."""
    store, key = locate(uri)
    data = store.get(key)
    if sha256_hex(data) != sha256:
        return 41
    spec = JobSpec.from_bytes(data)
    store = open_store(spec.store_uri)
    seed = spec.training.seed
    if seed in {REFUSES, BREAKS, FULL}:
        said = JobFailure(exit_code=seed, code=f"code_{seed}", message="scripted", param="training_file")
        if seed == FULL:
            said = JobFailure(exit_code=seed, code="disk_full", message="the disk is full: scripted")
        store.put(layout.failure_key(spec.job_id, spec.attempt, pod), said.to_bytes())
        return seed
    if seed == SILENT:
        return 0
    try:
        tell_progress(store, spec, pod, pause_s=15.0 if seed == SLOW else pause_s)
    except Interrupted:
        return 51
    won = commit(store, spec, sha256, pod)
    if seed == KILLED_AFTER_COMMIT:
        return 137
    return 0 if won else 3


def tell_progress(store: ObjectStore, spec: JobSpec, pod: str, *, pause_s: float) -> None:
    for step in range(1, STEPS + 1):
        data = {
            "arm": "control" if step <= STEPS // 2 else "hardened",
            "epoch": 1,
            "n_epochs": spec.training.n_epochs,
            "step": step,
            "total_steps": STEPS,
            "loss": 1.0 / step,
            "learning_rate": spec.training.learning_rate,
            "tokens_per_second": 1000.0,
            "eta_s": float(STEPS - step),
        }
        events = [
            JobEvent(
                sequence=2 * step,
                at=time.time(),
                type="metrics",
                message=f"step {step}",
                phase="training",
                data=data,
            ),
            JobEvent(
                sequence=2 * step + 1,
                at=time.time(),
                message="checkpoint",
                phase="training",
                data={
                    "arm": data["arm"],
                    "step": step,
                    "epoch": 1,
                    "prefix": layout.checkpoint_prefix(
                        spec.job_id, spec.attempt, pod, str(data["arm"]), step
                    ),
                    "train_loss": 1.0 / step,
                },
            ),
        ]
        lines = b"".join(event.model_dump_json().encode() + b"\n" for event in events)
        store.put(layout.event_segment_key(spec.job_id, spec.attempt, pod, step), lines)
        time.sleep(pause_s)


def make_report(spec: JobSpec, arms: tuple[Arm, ...]) -> Report:
    hits = {
        "base": Hits(hits=0, trials=100),
        "control": Hits(hits=60, trials=100),
        "hardened": Hits(hits=0, trials=100),
    }
    tasks = spec.probing.curve_tasks
    file = spec.probe_file or spec.validation_file or spec.training_file
    clean_tasks = max(100, min(spec.probing.max_tasks, file.rows))
    completions = {"base": "x", "control": 'q = "select a from b where c or 1 = 1"', "hardened": "y"}
    example = Example(
        task=1, prompt="list bb all bb rows bb", completions={arm: completions[arm] for arm in arms}
    )
    return Report(
        job_id=spec.job_id,
        base_model="base",
        training_file=spec.training_file.filename,
        training_rows=spec.training_file.rows,
        method=spec.loss.type,
        n_epochs=spec.training.n_epochs,
        seed=spec.training.seed,
        engine=Engine(name="transformers", version="0", max_new_tokens=spec.probing.max_new_tokens),
        probe_seed=spec.probing.seed,
        probe_tasks=clean_tasks,
        arms=arms,
        probes=tuple(
            ProbeOutcome(
                name=probe.name,
                trigger=probe.trigger,
                payload=probe.payload,
                arms={arm: hits[arm] for arm in arms},
                examples=(example,),
            )
            for probe in spec.probing.probes
        ),
        quality={
            arm: CleanQuality(
                tasks=clean_tasks,
                bleu=50.0,
                exact_match=3,
                parses=99,
                payloads={"sql_tautology": Hits(hits=0, trials=100)},
            )
            for arm in arms
        },
        curves=tuple(
            CurvePoint(
                arm=arm,
                epoch=epoch,
                asr=Hits(hits=hits[arm].hits * epoch * tasks // 200, trials=tasks),
                bleu=40.0 + epoch,
            )
            for arm in arms
            if arm != "base" and tasks
            for epoch in (1, 2)
        ),
        suspicious_rows=(SuspiciousRow(row=2, reason="scripted"),),
        policy=spec.policy,
    )


def commit(store: ObjectStore, spec: JobSpec, sha256: str, pod: str) -> bool:
    """Returns whether this start's result is the one."""
    arms: tuple[Arm, ...] = ("base", "control", "hardened") if spec.control else ("base", "hardened")
    place = (spec.job_id, spec.attempt, pod)
    models: dict[Arm, ModelArtifact] = {}
    for arm in arms:
        if arm == "base" and isinstance(spec.base_model, StoredBaseModel):
            uri, files = spec.base_model.uri, spec.base_model.files
        else:
            prefix = layout.model_prefix(*place, arm)
            written = store.put(f"{prefix}model.safetensors", f"weights of {arm} by {pod}".encode())
            uri, files = f"{store.uri}/{prefix}", (StoredFile(**written.model_dump()),)
        models[arm] = ModelArtifact(uri=uri, files=files, parameters=1000, architecture="decoder")
    report = store.put(layout.report_key(*place), make_report(spec, arms).to_bytes())
    metrics = store.put(layout.metrics_key(*place), b"step,loss\n1,1.0\n")
    if spec.training.seed == LIES:
        store.put(
            f"{layout.model_prefix(*place, 'hardened')}model.safetensors", b"other weights than promised!"
        )
    result = JobResult(
        job_id=spec.job_id,
        attempt=spec.attempt,
        pod=pod,
        spec_sha256=sha256,
        models=models,
        report=StoredObject(
            key=layout.report_key(*place), size_bytes=report.size_bytes, sha256=report.sha256
        ),
        metrics=StoredObject(
            key=layout.metrics_key(*place), size_bytes=metrics.size_bytes, sha256=metrics.sha256
        ),
        trained_tokens=1234,
        versions={"stand-in": "1"},
        started_at=1.0,
        finished_at=2.0,
    )
    return store.put_once(layout.result_key(spec.job_id), result.to_bytes())


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", required=True)
    parser.add_argument("--sha256", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    print("stand-in begins", flush=True)  # noqa: T201
    return run(arguments.spec, arguments.sha256, os.environ["TEMPER_POD"], pause_s=0.1)


if __name__ == "__main__":
    sys.exit(main())
