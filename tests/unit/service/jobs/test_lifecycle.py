"""A job from its creation to its end, with everything that may come in between."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from deploy.contract import layout
from deploy.contract.result import JobFailure
from deploy.contract.spec import JobSpec
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase

SLOW, REFUSES, BREAKS, FULL, SILENT, LIES, KILLED_AFTER_COMMIT = 7, 42, 52, 53, 1, 13, 99


def test_a_job_succeeds_and_shows_what_it_made(world: Any) -> None:
    created = world.create(suffix="demo")
    assert created["status"] == "validating_files"
    assert created["hyperparameters"]["n_epochs"] == "auto"
    done = world.finish(created["id"])
    assert done["status"] == "succeeded", done["error"]
    assert done["fine_tuned_model"] == f"ft:tiny:temper:demo:{created['id'][-12:]}"
    assert done["trained_tokens"] == 1234
    assert done["hyperparameters"] == {
        "n_epochs": 12,
        "batch_size": 8,
        "learning_rate_multiplier": 1.0,
        "learning_rate": 2e-3,
    }
    assert done["method"]["dece"]["hyperparameters"]["n_epochs"] == 12
    hardening = done["hardening"]
    assert hardening["verdict"] == "pass"
    assert hardening["models"]["control"] == done["fine_tuned_model"] + ":control"
    assert hardening["models"]["base"] == "tiny"
    assert hardening["progress"]["hardened"]["step"] == 4
    assert not world.launcher.runs
    for file_id in done["result_files"]:
        assert world.api.get(f"/v1/files/{file_id}").json()["purpose"] == "fine-tune-results"
    content = world.api.get(f"/v1/files/{done['result_files'][0]}/content")
    assert content.text.startswith("step,loss")
    models = {model["id"] for model in world.api.get("/v1/models").json()["data"]}
    assert {"tiny", *hardening["models"].values()} == models


def test_history_and_checkpoints_are_kept_once_and_paged(world: Any) -> None:
    job = world.create()["id"]
    world.finish(job)
    events = world.events(job)
    assert len({event["id"] for event in events}) == len(events)
    assert sum(event["type"] == "metrics" for event in events) == 4
    assert "successfully completed" in " ".join(event["message"] for event in events)
    times = [event["created_at"] for event in events]
    assert times == sorted(times, reverse=True)
    seen: list[str] = []
    after = ""
    while True:
        page = world.api.get(f"/v1/fine_tuning/jobs/{job}/events?limit=3{after}").json()
        seen += [event["id"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={seen[-1]}"
    assert seen == [event["id"] for event in events]
    checkpoints = world.api.get(f"/v1/fine_tuning/jobs/{job}/checkpoints").json()
    assert sorted(row["step_number"] for row in checkpoints["data"]) == [1, 2, 3, 4]
    assert checkpoints["data"][0]["metrics"]["train_loss"] > 0


def test_the_log_of_an_ended_run_is_kept(world: Any) -> None:
    job = world.create()["id"]
    world.finish(job)
    assert world.context.store.get(layout.log_key(job, 1, "pod-1")).startswith(b"log of harden-")


def test_e5_the_users_fault_fails_once_with_its_message(world: Any) -> None:
    done = world.finish(world.create(seed=REFUSES)["id"])
    assert done["status"] == "failed"
    assert done["error"] == {"code": "code_42", "message": "scripted", "param": "training_file"}
    assert world.launcher.launched == 1


@pytest.mark.parametrize("seed", [BREAKS, SILENT])
def test_e6_the_platforms_fault_is_tried_three_times(world: Any, seed: int) -> None:
    job = world.create(seed=seed)["id"]
    done = world.finish(job)
    assert done["status"] == "failed"
    assert done["error"]["code"] == "platform_error"
    assert world.launcher.launched == 3
    specs = [JobSpec.from_bytes(world.context.store.get(layout.spec_key(job, n))) for n in (1, 2, 3)]
    assert [spec.attempt for spec in specs] == [1, 2, 3]
    assert {spec.model_copy(update={"attempt": 1}) for spec in specs} == {specs[0]} or all(
        spec.model_copy(update={"attempt": 1}) == specs[0] for spec in specs
    )


def test_a_disk_that_stays_full_is_retried_and_then_told(world: Any) -> None:
    job = world.create(seed=FULL)["id"]
    done = world.finish(job)
    assert world.launcher.launched == 3, "another machine, or a tidier disk, may have room"
    assert (done["status"], done["error"]["code"]) == ("failed", "platform_error")
    assert "disk_full: the disk is full" in done["error"]["message"]
    warnings = [event["message"] for event in world.events(job) if event["level"] == "warn"]
    assert len(warnings) == 2
    assert all("the disk is full" in warning for warning in warnings)


def test_a_result_that_lies_about_its_weights_is_never_served(world: Any) -> None:
    done = world.finish(world.create(seed=LIES)["id"])
    assert done["status"] == "failed"
    assert done["error"]["code"] == "bad_result"
    assert "model.safetensors" in done["error"]["message"]
    assert {model["id"] for model in world.api.get("/v1/models").json()["data"]} == {"tiny"}


def test_a_run_killed_right_after_its_commit_has_succeeded(world: Any) -> None:
    assert world.finish(world.create(seed=KILLED_AFTER_COMMIT)["id"])["status"] == "succeeded"
    assert world.launcher.launched == 1


def test_a_dataset_that_cannot_be_used_is_named_before_anything_runs(world: Any) -> None:
    bad = b'{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": ""}\n'
    done = world.finish(world.create(training_file=world.upload(bad))["id"])
    assert done["status"] == "failed"
    assert done["error"]["code"] == "invalid_dataset"
    assert done["error"]["param"] == "training_file"
    assert "row 2" in done["error"]["message"]
    assert "completion" in done["error"]["message"]
    assert world.launcher.launched == 0


def test_a_bad_probe_file_is_named_by_its_own_path(world: Any) -> None:
    done = world.finish(world.create(hardening={"probe": {"file": world.upload(b"{}\n")}})["id"])
    assert done["error"]["param"] == "hardening.probe.file"


def test_a_store_that_is_away_fails_no_job(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.store.protocol import StoreUnavailable

    job = world.create()["id"]
    with monkeypatch.context() as patch:

        def away(*_: object, **__: object) -> None:
            raise StoreUnavailable("scripted")

        patch.setattr(type(world.context.store), "fetch_file", away)
        for _ in range(3):
            world.reconciler.tick()
            world.reconciler.settle()
        assert world.job(job)["status"] == "validating_files"
    assert world.finish(job)["status"] == "succeeded"


def test_pause_keeps_the_job_queued_and_resume_makes_another_attempt(world: Any) -> None:
    job = world.create()["id"]
    world.settle()
    assert world.job(job)["status"] == "running"
    assert world.api.post(f"/v1/fine_tuning/jobs/{job}/pause").status_code == 200
    world.settle()
    paused = world.job(job)
    assert (paused["status"], paused["hardening"]["phase"]) == ("queued", "paused")
    assert not world.launcher.runs
    world.settle()
    assert world.api.post(f"/v1/fine_tuning/jobs/{job}/resume").status_code == 200
    done = world.finish(job)
    assert done["status"] == "succeeded"
    assert done["hardening"]["attempt"] == 2
    refused = world.api.post(f"/v1/fine_tuning/jobs/{job}/pause")
    assert refused.status_code == 409
    assert refused.headers["x-should-retry"] == "false"


def test_resume_of_a_job_that_is_not_paused_is_refused(world: Any) -> None:
    job = world.create()["id"]
    assert world.api.post(f"/v1/fine_tuning/jobs/{job}/resume").json()["error"]["code"] == "job_not_paused"


@pytest.mark.parametrize("phase", ["validating", "queued", "running", "committed", "retrying"])
def test_d7_cancel_is_final_in_every_phase(world: Any, phase: str) -> None:
    job = world.create(seed=BREAKS if phase == "retrying" else 0)["id"]
    if phase != "validating":
        world.settle(until="queued" if phase == "queued" else "running", job_id=job)
    if phase == "committed":
        world.run_all()
        world.reconciler.tick()
    if phase == "retrying":
        world.run_all()
        world.settle(until="retrying", job_id=job)
    cancelled = world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel").status_code == 200
    world.run_all()
    world.settle()
    done = world.job(job)
    assert done["status"] == "cancelled"
    assert done["fine_tuned_model"] is None
    assert not world.launcher.runs
    assert {model["id"] for model in world.api.get("/v1/models").json()["data"]} == {"tiny"}
    assert world.api.get(f"/v1/reports/{job}").json()["error"]["code"] == "report_not_ready"


def test_a_job_that_has_ended_cannot_be_cancelled(world: Any) -> None:
    job = world.create()["id"]
    world.finish(job)
    assert world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel").status_code == 409
    assert world.job(job)["status"] == "succeeded"


@pytest.mark.parametrize("seed", range(12))
def test_e15_the_service_may_die_after_any_action(world: Any, seed: int) -> None:
    chance = random.Random(seed)
    job = world.create()["id"]
    for _ in range(chance.randrange(1, 14)):
        world.reconciler.tick()
        if chance.random() < 0.5:
            world.restart()
        if chance.random() < 0.3:
            world.run_all()
        if chance.random() < 0.2:
            lost = {
                name: dataclasses.replace(run, phase=RunPhase.LOST)
                for name, run in world.launcher.runs.items()
            }
            world.launcher.runs.update(lost)
    done = world.finish(job)
    assert done["status"] in {"succeeded", "failed"}
    if done["status"] == "failed":
        assert done["error"]["code"] == "platform_error"
    events = [event["message"] for event in world.events(job) if "successfully" in event["message"]]
    assert len(events) == (done["status"] == "succeeded")


def test_a_run_that_nobody_asked_for_is_stopped_and_removed(world: Any) -> None:
    world.launcher.runs["harden-abc-1"] = Run(name="harden-abc-1", phase=RunPhase.RUNNING)
    world.settle()
    assert world.launcher.stopped == ["harden-abc-1"]
    assert world.launcher.removed == ["harden-abc-1"]


def test_a_result_is_adopted_by_a_restored_row(world: Any, tmp_path: Path) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    world.run_all()
    world.launcher.runs.clear()
    world.restart()
    world.settle()
    assert world.job(job)["status"] == "succeeded"
    assert world.launcher.launched == 1


def test_progress_and_time_left_are_shown_while_it_runs(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    data = {
        "arm": "hardened",
        "epoch": 1,
        "n_epochs": 3,
        "step": 5,
        "total_steps": 9,
        "loss": 0.25,
        "learning_rate": 1e-3,
        "tokens_per_second": 800.0,
        "grad_norm": 1.5,
        "gradient_weight": 0.7,
        "eta_s": 42.0,
    }
    event = {"sequence": 0, "at": 1.0, "type": "metrics", "message": "m", "phase": "training", "data": data}
    world.context.store.put(layout.event_segment_key(job, 1, "pod-x", 0), json.dumps(event).encode() + b"\n")
    world.settle()
    shown = world.job(job)
    assert shown["estimated_finish"] == int(world.context.clock.now()) + 42
    assert shown["hardening"]["phase"] == "training"
    progress = shown["hardening"]["progress"]["hardened"]
    assert {name: progress[name] for name in ("step", "total_steps", "loss", "learning_rate")} == {
        "step": 5,
        "total_steps": 9,
        "loss": 0.25,
        "learning_rate": 1e-3,
    }
    [told] = [event["data"] for event in world.events(job) if event["type"] == "metrics"]
    assert data.items() <= told.items()
    assert world.finish(job)["estimated_finish"] is None


def test_malformed_events_are_skipped(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    key = layout.event_segment_key(job, 1, "pod-x", 0)
    good = b'{"sequence":0,"at":1.0,"message":"fine","phase":"training","data":{}}'
    world.context.store.put(key, b"not json\n" + good + b"\n" + b'{"sequence":-1}\n')
    world.settle()
    assert "fine" in [event["message"] for event in world.events(job)]
    assert world.finish(job)["status"] == "succeeded"


def test_a_hostile_job_can_neither_break_the_reconciler_nor_the_history(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    head = b'{"at":1e300,"message":"m","type":"metrics","phase":"training","sequence":'
    lines = [
        head + b'0,"data":{"arm":"control","step":1,"loss":NaN,"eta_s":Infinity}}',
        head + b'1,"data":{"arm":"control","step":2,"loss":1e999,"eta_s":1e300}}',
        head + str(2**70).encode() + b',"data":{}}',
        head + b'3,"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        head
        + b'4,"data":{"arm":"control","step":'
        + str(2**70).encode()
        + b',"prefix":"jobs/%s/x"}}' % job.encode(),
        head + b'5,"data":{"arm":"control","step":3,"prefix":"jobs/ftjob-other/x"}}',
        head + b'6,"data":{"arm":"control","step":4,"note":"\\u0000"}}',
    ]
    store = world.context.store
    store.put(layout.event_segment_key(job, 1, "pod-x", 0), b"\n".join(lines))
    store.put(layout.event_segment_key(job, 1, "pod-x", 1), b"x" * (5 << 20))
    store.put(layout.failure_key(job, 1, "pod-x"), b"x" * (1 << 20))
    world.settle()
    shown = world.job(job)
    assert shown["hardening"]["progress"]["control"]["loss"] is None
    assert shown["estimated_finish"] is None
    assert {event["data"].get("step") for event in world.events(job) if event["type"] == "metrics"} >= {1, 2}
    assert world.api.get(f"/v1/fine_tuning/jobs/{job}/checkpoints").json()["data"] == []
    assert world.finish(job)["status"] == "succeeded"


def test_a_refusal_in_words_that_no_database_can_hold_is_a_refusal(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    said = JobFailure(exit_code=42, code="invalid_dataset", message="row 3: \0 is no text")
    world.context.store.put(layout.failure_key(job, 1, "pod-x"), said.to_bytes())
    world.launcher.exit(layout.job_name(job, 1), 42)
    world.settle()
    assert world.job(job)["error"]["code"] == "invalid_dataset"


def test_a_result_too_large_to_read_fails_the_job(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    world.context.store.put(layout.result_key(job), b" " * ((16 << 20) + 1))
    world.launcher.exit(layout.job_name(job, 1), 0)
    world.settle()
    assert world.job(job)["error"]["code"] == "bad_result"
