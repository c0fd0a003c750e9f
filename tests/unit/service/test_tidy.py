"""Tidying up at start."""

from typing import Any

from starlette.testclient import TestClient

from service.context import Context
from service.tables import JobRow
from service.tidy import clearing_scratch
from service.tidy import tidy


def expiring(api: TestClient) -> str:
    fields = {"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made: str = api.post("/v1/files", data=fields, files={"file": ("a", b"x")}).json()["id"]
    return made


def test_expired_files_go_but_for_those_that_a_job_needs(
    api: TestClient, context: Context, clock: Any
) -> None:
    needed, idle = expiring(api), expiring(api)
    with context.database.writing() as session:
        session.add(
            JobRow(
                id="ftjob-1",
                model="base",
                training_file=needed,
                method={},
                hyperparameters={},
                hardening={},
                seed=0,
                status="running",
                created_at=0,
            )
        )
    tidy(context)
    assert {found.key for found in context.store.list("")} == {f"files/{needed}", f"files/{idle}"}
    clock.time += 3600
    tidy(context)
    assert {found.key for found in context.store.list("")} == {f"files/{needed}"}


def test_a_committed_file_that_is_still_noted_stays(api: TestClient, context: Context) -> None:
    made = api.post("/v1/files", data={"purpose": "evals"}, files={"file": ("a", b"x")}).json()["id"]
    note = context.leftovers.noted(f"files/{made}")
    note.__enter__()
    tidy(context)
    assert api.get(f"/v1/files/{made}/content").content == b"x"


def test_copies_of_a_check_that_was_cut_go(context: Context) -> None:
    copy = context.settings.home / "checking" / "base-model-cut"
    copy.mkdir(parents=True)
    (copy / "model.safetensors").write_bytes(b"x")
    with clearing_scratch(context):
        assert not copy.exists()
