"""The database is gone, and comes back from the object store."""

import json
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy import select

from deploy.contract import layout
from deploy.contract.document import StoredFile
from deploy.store.protocol import ObjectStore
from service.base_models.schemas import MANIFEST
from service.base_models.schemas import BaseModelManifest
from service.context import Context
from service.database import Database
from service.recovery.recorder import Recorder
from service.recovery.recovery import recover
from service.recovery.tally import Tally
from service.schema import migrate
from service.settings import Settings
from service.settings import settings_from_env
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobCheckpointRow
from service.tables import JobEventRow
from service.tables import JobRequestRow
from service.tables import JobRow
from service.tables import ModelRow
from service.tables import ScanRow
from service.tables import Table

TABLES = (FileRow, BaseModelRow, JobRow, ScanRow, ModelRow, JobCheckpointRow, JobRequestRow)
OF_THE_MOMENT = {"version", "progress", "estimated_finish", "launched_at", "next_attempt_at", "failures"}
"""Columns that say how a row came to be what it is; the rest says what it is."""
TIMES = {"started_at", "finished_at", "created_at"}
"""Of what a job made: by its own clock."""
HUB = {"type": "hub", "repo": "a/b", "revision": "a" * 40}


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Any, database_url: str) -> Settings:
    env = {"TEMPER_HOME": str(tmp_path / "home"), "TEMPER_DATABASE_URL": database_url}
    if getattr(request, "param", "directory") == "s3":
        env["TEMPER_STORE_URI"] = f"s3://{request.getfixturevalue('s3_server').bucket}/temper"
    return settings_from_env(env)


@pytest.fixture
def empty(context: Context, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Database]:
    """Another database of the same kind, with a schema and nothing in it."""
    if context.database.shared:
        server = request.getfixturevalue("postgres")
        server.execute("DROP DATABASE IF EXISTS recovered WITH (FORCE)")
        server.execute("CREATE DATABASE recovered")
        made = Database(server.url("recovered"))
    else:
        made = Database(f"sqlite:///{tmp_path}/recovered.db")
    migrate(made)
    yield made
    made.close()


def rows(database: Database, table: type[Table]) -> dict[str, dict[str, Any]]:
    with database.reading() as session:
        found = session.scalars(select(table)).all()
        return {
            getattr(row, "id", None) or row.key: {  # type: ignore[attr-defined]
                column.key: getattr(row, column.key) for column in table.__mapper__.column_attrs
            }
            for row in found
        }


def number(tally: Tally, outcome: str) -> int:
    return sum(count for (_, what), count in tally.counts.items() if what == outcome)


def without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


@pytest.fixture
def make_tiny_whole(context: Context) -> Callable[[], None]:
    """The base model of the world, as its upload and its check would have left it."""

    def make() -> None:
        with context.database.writing() as session:
            row = session.get(BaseModelRow, ("default", "tiny"))
            assert row is not None
            row.source = {"type": "upload", "files": row.files}
            row.uri = f"{context.store.uri}/base_models/tiny"
            manifest = BaseModelManifest(
                uri=row.uri,
                files=tuple(StoredFile(**file) for file in row.files),
                architecture="decoder",
                parameters=1000,
            )
        context.store.put_once(layout.base_model_prefix("tiny") + MANIFEST, manifest.to_bytes())

    return make


def create_with_key(world: Any, file: str) -> str:
    body = {"model": "tiny", "training_file": file, "seed": 0}
    answer = world.api.post("/v1/fine_tuning/jobs", json=body, headers={"idempotency-key": "once"})
    return str(answer.json()["id"])


def store_of_everything(world: Any) -> dict[str, str]:
    """One of each: what succeeded, failed, was cancelled, runs, waits and was deleted."""
    api, ids = world.api, {}
    ids["done"] = world.create(suffix="demo", metadata={"team": "a"})["id"]
    world.finish(ids["done"])
    ids["failed"] = world.create(training_file=world.upload(b"not json at all\n"))["id"]
    world.finish(ids["failed"])
    ids["scan"] = world.create_scan()["id"]
    world.finish_scan(ids["scan"])
    ids["running"] = world.create(seed=8)["id"]
    world.settle(until="preparing", job_id=ids["running"])
    ids["cancelled"] = world.create()["id"]
    assert api.post(f"/v1/fine_tuning/jobs/{ids['cancelled']}/cancel").status_code == 200
    ids["file"] = world.upload(b"{}\n", purpose="evals", name="ein Name.jsonl")
    ids["gone"] = world.upload(name="gone.jsonl")
    assert api.post("/v1/base_models", json={"id": "hub", "source": HUB}).status_code == 200
    Recorder(world.context).step()
    assert api.delete(f"/v1/files/{ids['gone']}").status_code == 200
    deleted = api.get(f"/v1/fine_tuning/jobs/{ids['done']}").json()["fine_tuned_model"] + ":control"
    assert api.delete(f"/v1/models/{deleted}").status_code == 200
    # Accepted, recorded, and never looked at.
    ids["fresh"] = world.upload()
    ids["new"] = create_with_key(world, ids["fresh"])
    Recorder(world.context).step()
    return ids


@pytest.mark.parametrize("settings", ["directory", "s3"], indirect=True)
def test_g5_everything_comes_back_and_comes_back_once(
    world: Any, empty: Database, make_tiny_whole: Callable[[], None]
) -> None:
    make_tiny_whole()
    ids = store_of_everything(world)
    before, store = world.context.database, world.context.store
    now = world.context.clock.now()
    rehearsed = recover(empty, store, now=now, dry_run=True)
    assert all(rows(empty, table) == {} for table in TABLES)
    tally = recover(empty, store, now=now)
    assert tally.counts == rehearsed.counts
    assert number(tally, "skipped") == 0, tally.problems
    for table in TABLES:
        assert rows(empty, table).keys() == rows(before, table).keys(), table
    check_jobs(rows(before, JobRow), rows(empty, JobRow), ids)
    for table, loose in ((FileRow, TIMES), (BaseModelRow, {"version"}), (ModelRow, TIMES)):
        for identity, row in rows(before, table).items():
            recovered = rows(empty, table)[identity]
            assert without(recovered, loose) == without(row, loose)
    scan = rows(empty, ScanRow)[ids["scan"]]
    loose = OF_THE_MOMENT | TIMES
    assert without(scan, loose) == without(rows(before, ScanRow)[ids["scan"]], loose)
    files = rows(empty, FileRow)
    assert files[ids["gone"]]["deleted"]
    assert files[ids["file"]] == rows(before, FileRow)[ids["file"]]
    # Once more: nothing is new, nothing changes.
    seen = {table: rows(empty, table) for table in (*TABLES, JobEventRow)}
    again = recover(empty, store, now=now + 1000)
    assert number(again, "rebuilt") == 0
    assert {table: rows(empty, table) for table in (*TABLES, JobEventRow)} == seen


def check_jobs(before: dict[str, Any], after: dict[str, Any], ids: dict[str, str]) -> None:
    loose = OF_THE_MOMENT | TIMES
    for name in ("done", "failed", "cancelled"):
        known, recovered = before[ids[name]], after[ids[name]]
        assert without(recovered, loose | {"inputs"}) == without(known, loose | {"inputs"}), name
        assert recovered["created_at"] == known["created_at"]
    assert after[ids["done"]]["inputs"] == before[ids["done"]]["inputs"]
    running = after[ids["running"]]
    assert (running["status"], running["phase"], running["attempt"]) == ("queued", "queued", 1)
    for column in ("inputs", "hyperparameters", "spec_sha256", "seed"):
        assert running[column] == before[ids["running"]][column]
    new = after[ids["new"]]
    assert (new["status"], new["attempt"], new["inputs"]) == ("validating_files", 0, None)


def test_g5_a_recovered_service_goes_on(
    world: Any, empty: Database, make_tiny_whole: Callable[[], None]
) -> None:
    make_tiny_whole()
    ids = store_of_everything(world)
    # As much as a new database is: nothing of the old one is left, and the cluster's runs go on.
    recovered = recover(empty, world.context.store, now=world.context.clock.now())
    assert recovered.counts["jobs", "rebuilt"] == 5
    object.__setattr__(world.context, "database", empty)
    launched = world.launcher.launched
    world.restart()
    done = world.finish(ids["running"])
    assert done["status"] == "succeeded", done["error"]
    assert world.finish(ids["new"])["status"] == "succeeded"
    assert world.job(ids["cancelled"])["status"] == "cancelled"
    names = [name for name in world.launcher.orders if ids["running"].removeprefix("ftjob-") in name]
    assert names == [layout.job_name(ids["running"], 1)], "a second run of the same attempt"
    assert world.launcher.launched - launched == 1  # the new one; what runs is taken over
    report = world.api.get(f"/v1/reports/{ids['done']}")
    assert report.status_code == 200
    # A client that heard no answer before the disaster asks again.
    assert create_with_key(world, ids["fresh"]) == ids["new"]


def empty_count(database: Database, table: type[Table]) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def put(store: ObjectStore, key: str, document: Any) -> None:
    store.put(key, document if isinstance(document, bytes) else json.dumps(document).encode())


def test_what_cannot_be_used_is_named_and_left_out(
    world: Any, empty: Database, make_tiny_whole: Callable[[], None]
) -> None:
    make_tiny_whole()
    job = world.create()["id"]
    world.finish(job)
    Recorder(world.context).step()
    store = world.context.store
    record = json.loads(store.get(layout.record_key("work", job)))
    spoilt = {
        "records/files/file-bad.json": b"{",
        "records/files/file-else.json": {**file_record(), "id": "file-other"},
        "records/files/file-nul.json": {**file_record(), "id": "file-nul", "filename": "a\x00b"},
        "records/files/file-big.json": b" " * (5 << 20),
        "records/base_models/evil.json": {"id": "evil", "source": {"type": "pickle"}, "created_at": 1},
        "records/work/ftjob-odd.json": {**record, "id": "ftjob-even"},
        "records/work/ftjob-scan.json": {
            **record,
            "id": "ftjob-scan",
            "order": {"type": "scan", "file": "file-a", "options": {}},
        },
        "records/work/scan-job.json": {**record, "id": "scan-job"},
        "files/Not-A-File": b"x",
    }
    for key, document in spoilt.items():
        put(store, key, document)
    put(store, "jobs/ftjob-bare/result.json", b"{}")
    put(store, "jobs/Evil_Job/attempts/1/spec.json", b"{}")
    reports = [found.key for found in store.list(f"jobs/{job}/") if found.key.endswith("/report.json")]
    # The evidence has a copy, which lies beside the weights.
    [report] = [key for key in reports if "/models/" not in key]
    store.put(report, b"another report")
    tally = recover(empty, store, now=world.context.clock.now())
    told = set(tally.problems)
    expected = set(spoilt) - (set() if world.context.database.shared else {"records/files/file-nul.json"})
    assert expected | {"records/work/ftjob-bare.json", layout.result_key(job)} <= told
    assert "records/work/Evil_Job.json" in told
    assert not empty_count(empty, ModelRow)
    failed = rows(empty, JobRow)[job]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "bad_result")
    assert set(rows(empty, JobRow)) == {job}


def file_record() -> dict[str, Any]:
    return {
        "id": "file-x",
        "filename": "a",
        "purpose": "evals",
        "bytes": 1,
        "sha256": "0" * 64,
        "created_at": 1,
        "expires_at": None,
    }


def test_a_store_without_records_gives_back_what_it_can(
    world: Any, empty: Database, make_tiny_whole: Callable[[], None]
) -> None:
    make_tiny_whole()
    file = world.upload(b'{"a": 1}\n', name="mine.jsonl")
    tally = recover(empty, world.context.store, now=world.context.clock.now())
    assert set(tally.problems) == {f"files/{file}", "records/base_models/tiny.json"}
    recovered = rows(empty, FileRow)[file]
    assert recovered["sha256"] == rows(world.context.database, FileRow)[file]["sha256"]
    assert rows(empty, BaseModelRow)["tiny"]["status"] == "ready"


def test_a_service_that_was_never_used_has_nothing_to_recover(context: Context, empty: Database) -> None:
    assert recover(empty, context.store, now=1.0) == Tally()


def test_the_recorder_writes_each_record_once_and_what_came_before_it(world: Any) -> None:
    world.upload()
    recorder = Recorder(world.context)
    assert recorder.step() == 2  # the file and the base model
    assert recorder.step() == 0
    world.create()
    assert recorder.step() == 2  # the job and its file
    # The next leader knows what is there, but for base models, which it writes again.
    assert Recorder(world.context).step() == 1


def test_an_id_that_is_used_again_is_recorded_again(world: Any, clock: Any) -> None:
    api, store = world.api, world.context.store
    recorder = Recorder(world.context)
    api.post("/v1/base_models", json={"id": "one", "source": HUB})
    recorder.step()
    assert api.delete("/v1/base_models/one").status_code == 200
    assert store.info(layout.record_key("base_models", "one")) is None
    clock.time += 5
    api.post("/v1/base_models", json={"id": "one", "source": {**HUB, "repo": "a/c"}})
    recorder.step()
    assert json.loads(store.get(layout.record_key("base_models", "one")))["source"]["repo"] == "a/c"
