"""The audit log: who changed what and who was refused, in rows that nobody changes."""

import io
import json
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from service.app import create_app
from service.audit.entry import Entry
from service.audit.entry import write_with_change
from service.audit.fleet import forget_old
from service.audit.journal import FLUSH_EVERY_S
from service.audit.journal import MOST_DIFFERENT
from service.audit.journal import MOST_TRIES
from service.audit.journal import Journal
from service.audit.rows import AuditRow
from service.audit.triggers import DAY_S
from service.context import Context

KEY = "operator-key-of-this-test"
OPERATOR = {"authorization": f"Bearer {KEY}"}
ENTRY = Entry(
    project="default",
    key_id="k1",
    action="POST /v1/files",
    resource="file-1",
    status=429,
    code="requests_per_minute_exceeded",
    request_id="req-1",
    address="127.0.0.1",
)


@pytest.fixture
def guarded(context: Context) -> Context:
    return replace(context, settings=replace(context.settings, api_key=KEY))


@pytest.fixture
def api(guarded: Context) -> Iterator[TestClient]:
    with TestClient(create_app(guarded), base_url="http://127.0.0.1:8000") as client:
        client.headers.update(OPERATOR)
        yield client


def journal_of(context: Context, lines: io.StringIO | None = None) -> Journal:
    return Journal(context.database, context.clock, context.metrics, lines=lines)


def rows(context: Context) -> list[AuditRow]:
    with context.database.reading() as session:
        return list(session.scalars(select(AuditRow).order_by(AuditRow.id)))


def add(context: Context, *, age_s: float = 0.0) -> str:
    identity = f"audit-{age_s:020.3f}"
    with context.database.writing() as session:
        now = context.database.now()
        session.add(
            AuditRow(id=identity, at=now - age_s, action="POST /x", status=200, request_id="r", times=1)
        )
    return identity


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET status = 500",
        "UPDATE audit_log SET at = 0",
        "DELETE FROM audit_log",
        "INSERT INTO audit_horizon (id, before) VALUES (1, 99999999999)",
    ],
)
def test_the_database_refuses_to_change_what_happened(context: Context, statement: str) -> None:
    add(context)
    with pytest.raises(DatabaseError), context.database.writing() as session:
        session.execute(text(statement))
    assert len(rows(context)) == 1


def test_the_database_refuses_to_empty_the_log(context: Context) -> None:
    if not context.database.shared:
        pytest.skip("SQLite knows no TRUNCATE")
    add(context)
    with pytest.raises(DatabaseError), context.database.writing() as session:
        session.execute(text("TRUNCATE audit_log"))


def test_only_what_is_old_enough_is_deleted(context: Context) -> None:
    old, young = add(context, age_s=40 * DAY_S), add(context, age_s=29 * DAY_S)
    with context.database.writing() as session:
        assert forget_old(session, days=30) == 1
    assert [row.id for row in rows(context)] == [young] != [old]
    with context.database.writing() as session:
        assert forget_old(session, days=30) == 0
    # What is younger than the horizon stays under guard.
    with pytest.raises(DatabaseError), context.database.writing() as session:
        session.execute(text("DELETE FROM audit_log"))
    with pytest.raises(DatabaseError), context.database.writing() as session:
        session.execute(text("UPDATE audit_horizon SET before = 99999999999"))


def test_a_change_is_written_in_its_own_transaction(api: TestClient, guarded: Context) -> None:
    job = api.post("/v1/endpoints", json={"model": "none"})
    assert job.status_code == 404
    changed = "POST /v1/organization/projects/{project_id}/limits"
    assert changed not in {row.action for row in rows(guarded)}
    made = api.post("/v1/organization/projects/default/limits", json={"endpoints": 3})
    assert made.status_code == 200, made.text
    # That the first was tried is written within a second, before or after this look.
    (row,) = [row for row in rows(guarded) if row.action == changed]
    assert (row.project, row.resource, row.status, row.times) == ("default", "default", 200, 1)
    assert row.request_id == made.headers["x-request-id"]
    assert row.address == "testclient"
    assert abs(row.at - guarded.database.now()) < 60


def test_a_transaction_that_is_served_again_writes_its_entry_again(context: Context) -> None:
    scope: dict[str, Any] = {"method": "POST", "state": {"request_id": "req-1"}}
    with context.database.rehearsing() as session:  # of which nothing is kept
        write_with_change(session, scope)
        session.flush()
    with context.database.writing() as session:
        write_with_change(session, scope)
    assert [row.request_id for row in rows(context)] == ["req-1"]


def test_what_was_refused_is_written_without_secrets(guarded: Context) -> None:
    secret = "tmpr_000000000000_" + "s3cr3t" * 7
    with TestClient(create_app(guarded), base_url="http://127.0.0.1:8000") as client:
        wrong = {"authorization": f"Bearer {secret}"}
        for _ in range(5):
            answer = client.post(f"/v1/files?token={secret}", headers=wrong, content=secret)
            assert answer.status_code == 401
    (row,) = rows(guarded)  # the end of the process wrote what waited
    assert (row.status, row.code, row.times) == (401, "invalid_api_key", 5)
    assert row.project is None
    assert secret not in repr({name: getattr(row, name) for name in row.__table__.columns.keys()})  # noqa: SIM118


def test_reads_are_not_told_of(api: TestClient, guarded: Context) -> None:
    assert api.get("/v1/files").status_code == 200
    assert api.get("/v1/files/file-none").status_code == 404
    assert rows(guarded) == []


def test_a_flood_of_refusals_is_a_few_rows(context: Context) -> None:
    journal = journal_of(context)
    for _ in range(500):
        journal.add(ENTRY)
    for number in range(MOST_DIFFERENT + 50):
        journal.add(replace(ENTRY, address=f"10.0.{number // 250}.{number % 250}"))
    journal.flush()
    found = rows(context)
    assert len(found) <= MOST_DIFFERENT + 1
    assert sum(row.times for row in found) == 500 + MOST_DIFFERENT + 50
    assert max(row.times for row in found) == 500


def test_each_entry_is_one_line_of_json(context: Context) -> None:
    lines = io.StringIO()
    journal = journal_of(context, lines)
    journal.add(replace(ENTRY, resource="a\nb\u2028\x1b[31m"))
    journal.tell(ENTRY)
    printed = lines.getvalue().splitlines()
    assert len(printed) == 2
    first = json.loads(printed[0])
    assert (first["event"], first["action"], first["status"]) == ("audit", "POST /v1/files", 429)
    assert lines.getvalue().isascii()
    assert "\x1b" not in lines.getvalue()


def test_entries_outlive_a_database_that_is_away_for_a_moment(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(context)
    writing = context.database.writing

    def away() -> Any:
        raise OperationalError("", {}, Exception("away"))

    journal.add(ENTRY)
    monkeypatch.setattr(context.database, "writing", away)
    journal.flush()
    journal.add(ENTRY)
    monkeypatch.setattr(context.database, "writing", writing)
    journal.flush()
    assert [row.times for row in rows(context)] == [2]
    monkeypatch.setattr(context.database, "writing", away)
    journal.add(ENTRY)
    for _ in range(MOST_TRIES):
        journal.flush()
    assert context.metrics.registry.get_sample_value("temper_audit_lost_total") == 1


def test_waiting_entries_are_written_within_a_second(context: Context) -> None:
    journal = journal_of(context)
    with journal.keeping():
        journal.add(ENTRY)
    assert len(rows(context)) == 1
    assert FLUSH_EVERY_S <= 1.0


def test_the_log_is_read_in_pages_and_by_filters(api: TestClient, guarded: Context) -> None:
    for number in range(3):
        changed = api.post("/v1/organization/projects/default/limits", json={"endpoints": number})
        assert changed.status_code == 200

    def read(**query: Any) -> httpx.Response:
        return api.get("/v1/organization/audit_logs", params=query)

    first = read(limit=2).json()
    assert first["has_more"]
    second = read(limit=2, after=first["last_id"]).json()
    assert [len(page["data"]) for page in (first, second)] == [2, 1]
    entry = first["data"][0]
    assert entry["object"] == "organization.audit_log"
    assert entry["actor"] == {"type": "api_key", "key_id": None, "address": "testclient"}
    assert len(read(**{"event_types[]": entry["type"]}).json()["data"]) == 3
    assert read(**{"event_types[]": "GET /"}).json()["data"] == []
    assert len(read(**{"project_ids[]": "default", "statuses[]": 200}).json()["data"]) == 3
    assert read(**{"effective_at[lt]": guarded.database.now() - 3600}).json()["data"] == []
    assert read(after="audit-none").json()["error"]["code"] == "invalid_cursor"


def test_a_change_that_is_refused_is_told_with_its_code(
    guarded: Context, error_of: Callable[..., dict[str, Any]]
) -> None:
    with TestClient(create_app(guarded), base_url="http://127.0.0.1:8000", headers=OPERATOR) as client:
        assert error_of(client.post("/v1/files", json={}), 415)
    (row,) = rows(guarded)
    assert (row.status, row.code) == (415, "unsupported_media_type")
