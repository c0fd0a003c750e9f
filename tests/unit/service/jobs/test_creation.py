"""What a create may say, and what repeating it does."""

import threading
from typing import Any

import pytest


def post(world: Any, body: dict[str, Any], **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.api.post("/v1/fine_tuning/jobs", json=body, headers=named)


def dece(**values: Any) -> dict[str, Any]:
    return {"method": {"type": "dece", "dece": {"hyperparameters": values}}}


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        (dece(alpha_base=0), "method.dece.hyperparameters.alpha_base"),
        (dece(alpha_base=1.01), "method.dece.hyperparameters.alpha_base"),
        (dece(alpha_base="0.99"), "method.dece.hyperparameters.alpha_base"),
        (dece(label_smoothing=1), "method.dece.hyperparameters.label_smoothing"),
        (dece(label_smoothing=-0.1), "method.dece.hyperparameters.label_smoothing"),
        (dece(schedule="day"), "method.dece.hyperparameters.schedule"),
        (dece(schedule_span=0), "method.dece.hyperparameters.schedule_span"),
        (dece(smoothing_spread="some"), "method.dece.hyperparameters.smoothing_spread"),
        (dece(alpha=0.9), "method.dece.hyperparameters.alpha"),
        (dece(n_epochs=0), "method.dece.hyperparameters.n_epochs"),
        (dece(batch_size=257), "method.dece.hyperparameters.batch_size"),
        ({"method": {"type": "dece", "dpo": {}}}, "method.dpo"),
        ({"hyperparameters": {"n_epoch": 3}}, "hyperparameters.n_epoch"),
        ({"hardening": {"contro": True}}, "hardening.contro"),
        ({"hardening": {"policy": {"max_asr_upper": 2}}}, "hardening.policy.max_asr_upper"),
        ({"hardening": {"adapter": {"type": "lora", "rank": 0}}}, "hardening.adapter.rank"),
        ({"hardening": {"probe": {"probes": []}}}, "hardening.probe.probes"),
        ({"hardening": {"canaries": {"rate": 0.9}}}, "hardening.canaries.rate"),
        ({"hardening": {"canaries": {"count": 0}}}, "hardening.canaries.count"),
        ({"suffix": "a/b"}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"priority": "high"}, "priority"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
    ],
)
def test_a_mistake_is_named_by_its_path(world: Any, extra: dict[str, Any], param: str) -> None:
    answer = post(world, {"model": "tiny", "training_file": "file-x", **extra})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("method", [{"type": "dpo"}, {"type": "reinforcement", "reinforcement": {}}, {}])
def test_an_unknown_method_names_those_that_exist(world: Any, method: dict[str, Any]) -> None:
    error = post(world, {"model": "tiny", "training_file": "f", "method": method}).json()["error"]
    assert error["param"] == "method.type"
    if "type" in method:
        assert "'dece', 'supervised'" in error["message"]
        assert method["type"] not in error["message"]


def test_what_is_named_must_exist_and_be_for_training(world: Any) -> None:
    file_id = world.upload()
    other = world.upload(purpose="evals")
    cases = [
        ({"model": "nope", "training_file": file_id}, 404, "model_not_found", "model"),
        ({"model": "tiny", "training_file": "file-0"}, 404, "file_not_found", "training_file"),
        ({"model": "tiny", "training_file": other}, 400, "invalid_file_purpose", "training_file"),
        (
            {"model": "tiny", "training_file": file_id, "validation_file": "f"},
            404,
            "file_not_found",
            "validation_file",
        ),
        (
            {"model": "tiny", "training_file": file_id, "hardening": {"probe": {"file": "f"}}},
            404,
            "file_not_found",
            "hardening.probe.file",
        ),
    ]
    for body, status, code, param in cases:
        answer = post(world, body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert world.api.get("/v1/fine_tuning/jobs").json()["data"] == []
    tasks = {"model": "tiny", "training_file": file_id, "hardening": {"probe": {"file": other}}}
    assert post(world, tasks).status_code == 200, "clean tasks may be kept as a file of evals"


def test_deprecated_hyperparameters_fill_what_is_auto(world: Any) -> None:
    job = world.create(hyperparameters={"n_epochs": 3, "batch_size": 4}, **dece(n_epochs=5))
    known = job["method"]["dece"]["hyperparameters"]
    assert (known["n_epochs"], known["batch_size"]) == (5, 4)
    assert known["alpha_base"] == 0.99


def test_a_learning_rate_out_of_range_fails_the_job_with_its_path(world: Any) -> None:
    job = world.create(**dece(learning_rate=1.0, learning_rate_multiplier=11.0))
    done = world.finish(job["id"])
    assert done["error"]["param"] == "method.dece.hyperparameters.learning_rate_multiplier"


def test_the_supervised_method_and_every_option_reach_the_spec(world: Any) -> None:
    from deploy.contract import layout
    from deploy.contract.spec import JobSpec

    options = {
        "control": False,
        "probe": {"max_tasks": 100, "curve_tasks": 5, "seed": 9, "file": world.upload()},
        "policy": {"min_trials": 7},
        "adapter": {"type": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1},
        "training": {
            "warmup_ratio": 0.2,
            "weight_decay": 0.3,
            "max_tokens": 99,
            "max_grad_norm": 2.0,
            "micro_batch_tokens": 4096,
            "gradient_checkpointing": True,
            "precision": "bf16",
        },
    }
    job = world.create(
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        hardening=options,
        metadata={"team": "x"},
    )
    world.settle(until="running", job_id=job["id"])
    spec = JobSpec.from_bytes(world.context.store.get(layout.spec_key(job["id"], 1)))
    assert spec.loss.type == "cross_entropy"
    assert not spec.control
    assert (spec.probing.max_tasks, spec.probing.seed, spec.policy.min_trials) == (100, 9, 7)
    assert spec.probe_file is not None
    assert spec.training.adapter is not None
    assert (spec.training.adapter.rank, spec.training.n_epochs, spec.training.max_tokens) == (4, 2, 99)
    assert spec.training.learning_rate == pytest.approx(2e-2)
    asked = options["training"]
    assert {name: getattr(spec.training, name) for name in asked} == asked
    assert world.finish(job["id"])["status"] == "succeeded"


@pytest.mark.parametrize("asked", [None, {"count": 4, "rate": 0.1, "seed": 8}])
def test_canaries_reach_the_spec(world: Any, asked: dict[str, Any] | None) -> None:
    from deploy.contract import layout
    from deploy.contract.spec import JobSpec

    job = world.create(hardening={"canaries": asked})
    world.settle(until="running", job_id=job["id"])
    spec = JobSpec.from_bytes(world.context.store.get(layout.spec_key(job["id"], 1)))
    assert (spec.canaries and spec.canaries.model_dump()) == asked


def test_deces_hyperparameters_reach_the_spec(world: Any) -> None:
    from deploy.contract import layout
    from deploy.contract.spec import JobSpec

    asked = {
        "alpha_base": 0.985,
        "label_smoothing": 0.1,
        "mode": "parity",
        "smoothing_spread": "all",
        "schedule": "step",
        "schedule_span": 12.0,
    }
    job = world.create(**dece(**asked))
    world.settle(until="running", job_id=job["id"])
    spec = JobSpec.from_bytes(world.context.store.get(layout.spec_key(job["id"], 1)))
    assert spec.loss.model_dump(exclude={"type"}) == asked


def test_jobs_are_listed_newest_first_paged_and_filtered(world: Any) -> None:
    file_id = world.upload()
    ids = [world.create(training_file=file_id, metadata={"n": str(n % 2)}, seed=n)["id"] for n in range(5)]
    page = world.api.get("/v1/fine_tuning/jobs?limit=2").json()
    assert [job["id"] for job in page["data"]] == ids[:2:-1]
    assert page["has_more"]
    rest = world.api.get(f"/v1/fine_tuning/jobs?limit=9&after={ids[3]}").json()
    assert [job["id"] for job in rest["data"]] == ids[2::-1]
    assert not rest["has_more"]
    odd = world.api.get("/v1/fine_tuning/jobs", params={"metadata[n]": "1"}).json()
    assert [job["id"] for job in odd["data"]] == [ids[3], ids[1]]
    assert world.api.get("/v1/fine_tuning/jobs?after=ftjob-x").status_code == 400


def test_d2_an_idempotency_key_makes_one_job(world: Any) -> None:
    body = {"model": "tiny", "training_file": world.upload()}
    first = post(world, body, Idempotency_Key="k1").json()["id"]
    assert post(world, body, Idempotency_Key="k1").json()["id"] == first
    other = post(world, {**body, "suffix": "other"}, Idempotency_Key="k1")
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert post(world, body, Idempotency_Key="k2").json()["id"] != first


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_d5_a_malformed_idempotency_key_is_refused(world: Any, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    body = {"model": "tiny", "training_file": world.upload()}
    answer = world.api.post("/v1/fine_tuning/jobs", json=body, headers=headers)
    assert answer.json()["error"]["code"] == "invalid_idempotency_key"


def test_a_clients_retry_finds_the_job_that_it_made_already(world: Any) -> None:
    body = {"model": "tiny", "training_file": world.upload(), "seed": 0}
    first = post(world, body).json()["id"]
    assert post(world, body, x_stainless_retry_count="1").json()["id"] == first
    assert post(world, body, x_stainless_retry_count="0").json()["id"] != first, "two creates are two jobs"
    world.context.clock.time += 61
    late = post(world, body, x_stainless_retry_count="1").json()["id"]
    assert late != first
    assert post(world, body).json()["id"] == late, "the request that its own retry overtook"
    world.api.post(f"/v1/fine_tuning/jobs/{late}/cancel")
    assert post(world, body, x_stainless_retry_count="2").json()["id"] != late, (
        "an ended job is not the answer"
    )


def test_many_retries_at_once_make_one_job(world: Any) -> None:
    body = {"model": "tiny", "training_file": world.upload(), "seed": 0}
    ids: list[str] = []

    def retry() -> None:
        ids.append(post(world, body, x_stainless_retry_count="1").json()["id"])

    threads = [threading.Thread(target=retry) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 12
    assert len(set(ids)) == 1
    assert len(world.api.get("/v1/fine_tuning/jobs").json()["data"]) == 1


def test_a_file_deleted_while_its_job_waits_fails_the_job(world: Any) -> None:
    from service.tables import FileRow

    file_id = world.upload()
    job = world.create(training_file=file_id)["id"]
    with world.context.database.writing() as session:
        row = session.get(FileRow, file_id)
        assert row is not None
        row.deleted = True
    error = world.finish(job)["error"]
    assert (error["code"], error["param"]) == ("file_not_found", "training_file")


def test_a_base_model_deleted_while_its_job_waits_fails_the_job(world: Any) -> None:
    from service.tables import BaseModelRow

    job = world.create()["id"]
    with world.context.database.writing() as session:
        session.delete(session.get(BaseModelRow, ("default", "tiny")))
    done = world.finish(job)
    assert (done["error"]["code"], done["error"]["param"]) == ("model_not_found", "model")
    assert "deleted" in done["error"]["message"]
    assert world.launcher.launched == 0


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_content_that_went_while_its_job_waits_fails_the_job(world: Any, damage: str) -> None:
    from deploy.contract import layout

    file_id = world.upload()
    job = world.create(training_file=file_id)["id"]
    key = layout.file_key(file_id)
    if damage == "gone":
        world.context.store.delete(key)
    else:
        world.context.store.put(key, world.context.store.get(key).replace(b"x = 1", b"x = 2"))
    error = world.finish(job)["error"]
    code, said = ("file_not_found", "gone") if damage == "gone" else ("file_corrupt", "not what was uploaded")
    assert (error["code"], error["param"]) == (code, "training_file")
    assert file_id in error["message"]
    assert said in error["message"]
    assert world.launcher.launched == 0


@pytest.mark.parametrize("param", ["training_file", "validation_file", "hardening.probe.file"])
def test_an_expired_file_starts_no_job(world: Any, param: str) -> None:
    from service.tables import FileRow

    good, expired = world.upload(), world.upload()
    with world.context.database.writing() as session:
        session.get(FileRow, expired).expires_at = int(world.context.clock.now()) + 3600
    body: dict[str, Any] = {"model": "tiny", "training_file": good}
    body |= {"hardening": {"probe": {"file": expired}}} if "." in param else {param: expired}
    assert post(world, body).status_code == 200
    world.context.clock.time += 3600
    answer = post(world, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "file_not_found", param)


def test_a_file_that_expires_while_its_job_waits_is_still_used(world: Any) -> None:
    from service.tables import FileRow

    file_id = world.upload()
    with world.context.database.writing() as session:
        session.get(FileRow, file_id).expires_at = int(world.context.clock.now()) + 1
    job = world.create(training_file=file_id)["id"]
    world.context.clock.time += 10
    assert world.finish(job)["status"] == "succeeded"


def test_what_a_job_names_is_locked_before_it_is_believed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite has one writer; on a server a delete could come between the check and the job's row.
    from service.base_models.repository import BaseModelRepository
    from service.files.repository import FileRepository

    locked: list[str] = []
    for kind in (BaseModelRepository, FileRepository):

        def get(self: Any, id_: str, *, _real: Any = kind.get, **more: Any) -> Any:
            if more.get("lock"):
                locked.append(id_)
            return _real(self, id_, **more)

        monkeypatch.setattr(kind, "get", get)
    named = [world.upload() for _ in range(3)]
    world.create(training_file=named[0], validation_file=named[1], hardening={"probe": {"file": named[2]}})
    assert set(locked) >= {"tiny", *named}


@pytest.mark.parametrize("role", ["training_file", "validation_file", "probe"])
def test_what_a_job_needs_cannot_be_deleted(world: Any, role: str) -> None:
    file_id = world.upload()
    more = {"hardening": {"probe": {"file": file_id}}} if role == "probe" else {role: file_id}
    job = world.create(**more)["id"]
    for phase in ("validating_files", "running"):
        if phase == "running":
            world.settle(until="running", job_id=job)
        for path in (f"/v1/files/{file_id}", "/v1/base_models/tiny"):
            refused = world.api.delete(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
            assert job in refused.json()["error"]["message"]
    assert world.finish(job)["status"] == "succeeded"
    assert world.api.delete(f"/v1/files/{file_id}").status_code == 200


def test_everything_about_an_unknown_job_is_404(world: Any) -> None:
    base = "/v1/fine_tuning/jobs/ftjob-nope"
    for answer in (
        world.api.get(base),
        world.api.get(f"{base}/events"),
        world.api.get(f"{base}/checkpoints"),
        *(world.api.post(f"{base}/{verb}") for verb in ("cancel", "pause", "resume")),
        world.api.get("/v1/reports/ftjob-nope"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "fine_tuning_job_not_found")
