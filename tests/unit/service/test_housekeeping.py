"""What the reconciling process does beside its ticks, once for all replicas."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from deploy.contract import layout
from deploy.store.protocol import StoreError
from service import tidy
from service.app import create_app
from service.base_models import service as base_models
from service.context import Context
from service.leadership import NotLeading
from service.tables import BaseModelRow
from service.tables import LeftoverRow
from service.tables import UploadPartRow
from service.tidy import ABANDONED_S
from service.tidy import CHECK_EVERY_S
from service.tidy import Housekeeping
from service.tidy import tidying


def of_role(context: Context, role: Any) -> Context:
    """Another process of the same install."""
    return replace(
        context,
        settings=replace(context.settings, role=role, local_models=True),
        checks=ThreadPoolExecutor(1),
        stopping=threading.Event(),
    )


@pytest.fixture
def model(tmp_path: Path, model_files: dict[str, bytes]) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in model_files.items():
        (folder / name).write_bytes(content)
    return folder.as_uri()


def register(context: Context, uri: str, name: str = "mine") -> dict[str, Any]:
    with TestClient(create_app(context), base_url="http://127.0.0.1:8000") as api:
        answer = api.post("/v1/base_models", json={"id": name, "source": {"type": "uri", "uri": uri}})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_what_an_api_replica_registers_the_leader_checks(
    context: Context, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_models, "CHECK_WAIT_S", 0.0)
    assert register(of_role(context, "api"), model)["status"] == "pending"
    # The replica may be gone by now: nothing is asked of it.
    leader = of_role(context, "reconcile")
    housekeeping = Housekeeping(leader)
    housekeeping.step()
    housekeeping.step()
    assert len(housekeeping._checks) == 1, "the same check was begun twice"
    next(iter(housekeeping._checks.values())).result(60)
    with context.database.reading() as session:
        row = session.get(BaseModelRow, ("default", "mine"))
    assert row is not None
    assert (row.status, row.error) == ("ready", None)
    housekeeping.step()
    assert not housekeeping._checks


def test_a_replica_that_waits_hears_of_the_leaders_check(context: Context, model: str) -> None:
    leader = of_role(context, "reconcile")
    stop = threading.Event()
    thread = threading.Thread(target=Housekeeping(leader).run, args=(stop,))
    thread.start()
    try:
        assert register(of_role(context, "api"), model)["status"] == "ready"
    finally:
        stop.set()
        thread.join()


def test_nobody_else_checks_for_the_leader(context: Context, model: str) -> None:
    housekeeping = Housekeeping(context)
    with context.database.writing() as session:
        source = {"type": "uri", "uri": model}
        session.add(BaseModelRow(id="a", status="pending", source=source, created_at=1, version=0))
    housekeeping.step()
    assert not housekeeping._checks


def test_notes_of_the_dead_are_swept_and_those_of_the_living_are_not(context: Context) -> None:
    held = [context.leftovers.noted(f"files/{name}") for name in ("old", "young")]
    for note in held:
        note.__enter__()
    for name in ("old", "young"):
        context.store.put(f"files/{name}", b"x")
    with context.database.writing() as session:
        old = update(LeftoverRow).where(LeftoverRow.key == "files/old")
        session.execute(old.values(noted_at=LeftoverRow.noted_at - ABANDONED_S - 1))
    Housekeeping(context).step()
    assert [found.key for found in context.store.list("files/")] == ["files/young"]


def test_an_embedded_service_sweeps_at_its_start_unless_others_may_be_at_work(context: Context) -> None:
    note = context.leftovers.noted("files/young")
    note.__enter__()
    context.store.put("files/young", b"x")
    with tidying(context):
        pass
    assert (context.store.info("files/young") is not None) == context.database.shared


def test_parts_that_a_crash_left_of_an_ended_upload_go(api: TestClient, context: Context) -> None:
    body = {"filename": "d", "purpose": "fine-tune", "bytes": 5, "mime_type": "text/plain"}
    upload = api.post("/v1/uploads", json=body).json()["id"]
    part = api.post(f"/v1/uploads/{upload}/parts", files={"data": ("upload", b"hello")}).json()["id"]
    key = layout.upload_part_key(upload, part)
    content = context.store.get(key)
    assert api.post(f"/v1/uploads/{upload}/cancel").status_code == 200
    context.store.put(key, content)
    with context.database.writing() as session:
        session.add(UploadPartRow(id=part, upload_id=upload, bytes=5, sha256="0", created_at=1))
    Housekeeping(context).step()
    assert context.store.info(key) is None


def test_weights_whose_deletion_was_cut_go_and_others_stay(context: Context) -> None:
    prefix = layout.model_prefix("ftjob-1", 1, "pod", "hardened")
    context.store.put(f"{prefix}model.safetensors", b"x")
    note = context.leftovers.noted(prefix)
    note.__enter__()
    context.leftovers.sweep(context.store, known=lambda _session, _key: True)
    assert context.store.info(f"{prefix}model.safetensors") is not None
    again = context.leftovers.noted(prefix)
    again.__enter__()
    with context.database.writing() as session:
        session.execute(update(LeftoverRow).values(noted_at=0))
    Housekeeping(context).step()
    assert context.store.info(f"{prefix}model.safetensors") is None


def test_it_goes_on_whatever_befalls_it(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    steps = 0
    stop = threading.Event()

    class Failing(Housekeeping):
        def step(self) -> None:
            nonlocal steps
            steps += 1
            if steps == 1:
                raise NotLeading("not now")
            if steps == 2:
                raise KeyError("a defect")
            stop.set()

    Failing(context).run(stop)
    assert steps == 3
    assert CHECK_EVERY_S <= 2
    assert "will be tried again" in caplog.text
    assert "a defect" in caplog.text


class Swept:
    """A store of which only the sweeping matters."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sweeps = 0
        self._error = error

    def sweep(self, *, older_than_s: float = 0.0) -> int:
        self.sweeps += 1
        if self._error is not None:
            raise self._error
        return 1


@pytest.mark.parametrize(
    "error", [None, StoreError("listing uploads is not allowed")], ids=["works", "refused"]
)
def test_the_store_is_swept_once_an_hour_and_nothing_else_waits_for_it(
    context: Context, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    store = Swept(error)
    monkeypatch.setattr(tidy, "sweep_store", partial(lambda sweep, _: sweep(store), tidy.sweep_store))
    now = [1000.0]
    monkeypatch.setattr(tidy, "time", SimpleNamespace(monotonic=lambda: now[0]))
    housekeeping = Housekeeping(context)
    for _ in range(3):
        housekeeping.step()
        now[0] += tidy.SWEEP_EVERY_S / 2
    assert store.sweeps == 2
