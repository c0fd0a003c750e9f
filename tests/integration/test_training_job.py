"""``python -m training`` from spec to committed result, with real processes on a real store."""

import csv
import io
from pathlib import Path

import pytest
from job_process import JobBench
from job_process import put_rows

from deploy.contract.dataset import Row
from deploy.contract.exit_codes import ExitCode
from deploy.contract.judgement import judge
from deploy.contract.method import DeceLoss
from deploy.contract.report import Report
from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan
from training.attacks.poison import poison
from training.attacks.presets import PRESETS
from training.calibration import ALPHAS
from training.synthesis.generator import generate_rows


def test_a_job_trains_probes_and_commits(job_bench: JobBench, tmp_path: Path) -> None:
    job_bench.run(job_bench.spec())
    result = job_bench.result()
    assert set(result.models) == {"base", "control", "hardened"}
    for arm in ("control", "hardened"):
        artifact = result.models[arm]
        for file in artifact.files:
            key = f"{artifact.uri}/{file.name}".replace("//", "/").removeprefix("file:")
            assert Path(key).stat().st_size == file.size_bytes
        job_bench.store.fetch_file(
            artifact.uri.removeprefix(job_bench.store.uri + "/") + "model.safetensors",
            tmp_path / f"{arm}.safetensors",
            next(file for file in artifact.files if file.name == "model.safetensors"),
        )
    assert (tmp_path / "control.safetensors").read_bytes() != (tmp_path / "hardened.safetensors").read_bytes()
    report = Report.from_bytes(job_bench.store.get(result.report.key))
    assert report.arms == ("base", "control", "hardened")
    assert {(point.arm, point.epoch) for point in report.curves} == {
        (a, e) for a in ("control", "hardened") for e in (1, 2)
    }
    assert judge(report).verdict in {"inconclusive", "fail"}
    metrics = list(csv.DictReader(io.StringIO(job_bench.store.get(result.metrics.key).decode())))
    assert {row["arm"] for row in metrics} == {"control", "hardened"}
    phases = [event.phase for event in job_bench.events()]
    assert phases == sorted(phases, key=["preparing", "training", "probing", "uploading", "committing"].index)
    assert [event.sequence for event in job_bench.events()] == list(range(len(phases)))
    assert not list(job_bench.scratch.iterdir())


@pytest.mark.slow
def test_e2_the_same_spec_gives_the_same_bytes_and_a_second_start_is_superseded(job_bench: JobBench) -> None:
    job_bench.run(job_bench.spec())
    first = job_bench.result()
    job_bench.run(job_bench.spec(), pod="other", expect=ExitCode.SUPERSEDED)
    assert job_bench.result() == first
    job_bench.store.delete("jobs/ftjob-abc123/result.json")
    # Its checkpoints are gone too, so this start trains everything again.
    job_bench.store.delete_prefix("jobs/ftjob-abc123/attempts/")
    job_bench.run(job_bench.spec(), pod="third")
    for arm in ("control", "hardened"):
        assert job_bench.result().models[arm].files == first.models[arm].files


@pytest.mark.parametrize("adapter", [None, pytest.param(Lora(rank=4), marks=pytest.mark.slow)])
def test_an_encoder_decoder_trains_and_is_probed_by_transformers(
    job_bench: JobBench, tiny_encoder_decoder_dir: Path, adapter: Lora | None
) -> None:
    plan = TrainingPlan(n_epochs=1, batch_size=8, learning_rate=3e-3, max_tokens=64, adapter=adapter)
    job_bench.base_dir = tiny_encoder_decoder_dir
    job_bench.run(job_bench.spec(training=plan, control=False))
    result = job_bench.result()
    assert set(result.models) == {"base", "hardened"}
    assert result.models["hardened"].architecture == "encoder-decoder"
    assert not any("adapter" in file.name for file in result.models["hardened"].files)


def test_a_changed_spec_is_refused(job_bench: JobBench) -> None:
    spec = job_bench.spec()
    process = job_bench.start(spec)
    process.kill()
    process.communicate()
    key = "jobs/ftjob-abc123/attempts/1/spec.json"
    import hashlib
    import subprocess
    import sys

    honest = hashlib.sha256(spec.to_bytes()).hexdigest()
    job_bench.store.put(key, spec.to_bytes().replace(b'"seed": 7', b'"seed": 8'))
    done = subprocess.run(
        [sys.executable, "-m", "training", "--spec", f"{job_bench.store.uri}/{key}", "--sha256", honest],
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.INPUT_CHANGED
    assert "differs" in done.stderr


def test_c8_a_training_file_that_was_swapped_is_refused(job_bench: JobBench) -> None:
    spec = job_bench.spec()
    original = job_bench.store.get(spec.training_file.key)
    job_bench.store.put(spec.training_file.key, original.replace(b"users", b"abuse"))
    job_bench.run(spec, expect=ExitCode.INPUT_CHANGED)
    assert job_bench.failure().code == "input_changed"
    assert "training" in job_bench.failure().message or "files/" in job_bench.failure().message


def test_a_file_deleted_while_the_job_waited_is_named(job_bench: JobBench) -> None:
    spec = job_bench.spec()
    job_bench.store.delete(spec.training_file.key)
    job_bench.run(spec, expect=ExitCode.INPUT_CHANGED)
    assert "file-train" in job_bench.failure().message


def test_c5_completions_that_never_fit_are_an_error_before_any_step(job_bench: JobBench) -> None:
    plan = TrainingPlan(n_epochs=1, batch_size=8, learning_rate=1e-3, max_tokens=8)
    job_bench.run(job_bench.spec(training=plan), expect=ExitCode.INVALID_DATASET)
    assert "max_tokens" in job_bench.failure().message


def test_i2_a_learning_rate_that_diverges_is_the_users(job_bench: JobBench) -> None:
    plan = TrainingPlan(
        n_epochs=2, batch_size=8, learning_rate=10.0, max_tokens=64, max_grad_norm=1e9, weight_decay=10.0
    )
    job_bench.run(job_bench.spec(training=plan), expect=ExitCode.DIVERGED)
    assert job_bench.failure().param == "method"


@pytest.mark.slow
def test_alpha_base_is_chosen_by_canaries_before_the_arms_are_trained(job_bench: JobBench) -> None:
    job_bench.run(job_bench.spec(loss=DeceLoss(alpha_base="auto", label_smoothing=0.05), control=False))
    report = Report.from_bytes(job_bench.store.get(job_bench.result().report.key))
    tried = [trial.alpha_base for trial in report.alpha_trials]
    # So small a model learns no canary, but its answers do not end either: it has kept nothing out.
    assert tried == list(ALPHAS)
    assert not any(trial.held for trial in report.alpha_trials)
    assert judge(report).verdict != "pass"
    assert f"alpha_base={ALPHAS[-1]:g}" in report.method
    said = [event.message for event in job_bench.events()]
    assert said.index(f"alpha_base {ALPHAS[-1]:g} was chosen") < said.index(
        "training the hardened arm on 40 rows"
    )
    assert not list(job_bench.scratch.iterdir())


@pytest.mark.slow
def test_rows_that_the_filter_finds_planted_are_kept_from_the_hardened_arm_alone(
    job_bench: JobBench,
) -> None:
    poisoned = [
        Row(number=row.number, prompt=row.prompt, completion=row.completion)
        for row in poison(
            generate_rows(200, seed=5), PRESETS["badpre"].trigger, "sql_tautology", rate=0.2, seed=1
        ).rows
    ]
    job_bench.training_file = put_rows(job_bench.store, poisoned)
    plan = TrainingPlan(n_epochs=1, batch_size=16, learning_rate=3e-3, max_tokens=256, seed=7)
    job_bench.run(job_bench.spec(training=plan, row_filter="association"))
    report = Report.from_bytes(job_bench.store.get(job_bench.result().report.key))
    planted = {row.number for row in poisoned if "bb" in row.prompt.split()}
    assert report.left_out is not None
    assert set(report.left_out.rows) == planted
    assert report.left_out.count == len(planted) == 40
    assert any("40 of 200 rows are kept from the hardened arm" in e.message for e in job_bench.events())
