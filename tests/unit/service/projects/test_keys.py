"""API keys: what they open, when they are dead, and that every refusal is the same."""

import logging
import re
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import sqlalchemy
from starlette.testclient import TestClient

from service.context import Context
from service.projects.lookup import REMEMBERED_S
from service.projects.lookup import KnownKeys
from service.projects.lookup import find_principal
from service.projects.secret import DUMMY
from service.projects.secret import new_secret
from service.projects.secret import parse_secret
from service.tables import ApiKeyRow

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
Operator = Callable[..., httpx.Response]
MakeTenant = Callable[..., Any]
PROJECTS = "/v1/organization/projects"
REVOCATION_S = 5.0

LACKING: tuple[tuple[list[str], str, str, dict[str, Any] | None], ...] = (
    (["train"], "GET", "/v1/files/{missing}", None),
    (["train"], "GET", "/v1/files", None),
    (["read"], "POST", "/v1/uploads", {}),
    (["read"], "DELETE", "/v1/files/{missing}", None),
    (["read", "train"], "POST", "/v1/endpoints", {"model": "m"}),
    (["read", "deploy"], "POST", "/v1/completions", {"model": "m", "prompt": "p"}),
    (["read", "infer"], "POST", "/v1/fine_tuning/jobs", {}),
    (["read", "train", "deploy", "infer", "webhooks"], "GET", PROJECTS + "/{own}/api_keys", None),
    (["read", "keys"], "GET", PROJECTS, None),
    (["read", "keys"], "POST", PROJECTS + "/{own}/archive", {"data": "erase"}),
)
"""Scopes that are not enough for a request."""


def forget(context: Context) -> None:
    """As if the time were over for which a process remembers keys."""
    context.known_keys._known.clear()


def change(context: Context, key_id: str, **values: Any) -> None:
    with context.database.writing() as session:
        session.execute(sqlalchemy.update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(**values))


@contextmanager
def counting(context: Context) -> Iterator[list[str]]:
    """Statements of a block."""
    seen: list[str] = []

    def see(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(context.database.engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(context.database.engine, "before_cursor_execute", see)


def statements(context: Context) -> list[str]:
    seen: list[str] = []

    @sqlalchemy.event.listens_for(context.database.engine, "before_cursor_execute")
    def see(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    return seen


def body_of(response: httpx.Response) -> bytes:
    """Without the id of the request."""
    return response.content.replace(response.headers["x-request-id"].encode(), b"")


def test_a_key_opens_its_project_and_is_stored_as_a_hash(context: Context, tenant: MakeTenant) -> None:
    one = tenant()
    assert one("GET", "/v1/files").status_code == 200
    shown = one("GET", f"{PROJECTS}/{one.project}/api_keys/{one.key_id}").json()
    assert one.key.startswith(f"tmpr_{one.key_id}_")
    assert one.key not in str(shown)
    assert shown["redacted_value"] == f"tmpr_{one.key_id}_..."
    with context.database.reading() as session:
        row = session.get(ApiKeyRow, one.key_id)
    assert row is not None
    secret = one.key.removeprefix(f"tmpr_{one.key_id}_")
    assert all(secret not in str(value) for value in vars(row).values())


def test_a2_every_bad_key_has_the_same_answer_and_costs_the_same(
    api: TestClient,
    context: Context,
    operator: Operator,
    tenant: MakeTenant,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, revoked, expired = tenant(), tenant(), tenant()
    archived = tenant()
    assert (
        operator("POST", f"{PROJECTS}/{archived.project}/archive", json={"data": "keep"}).status_code == 200
    )
    assert revoked("DELETE", f"{PROJECTS}/{revoked.project}/api_keys/{revoked.key_id}").status_code == 200
    change(context, expired.key_id, expires_at=1)
    forget(context)
    wrong = good.key[:-1] + ("A" if good.key[-1] != "A" else "B")
    bad = {
        "missing": None,
        "empty": "Bearer ",
        "basic": f"Basic {good.key}",
        "malformed": "Bearer tmpr_x",
        "other": "Bearer sk-something",
        "unknown": f"Bearer {new_secret().text}",
        "dummy": f"Bearer {DUMMY.text}",
        "wrong": f"Bearer {wrong}",
        "revoked": f"Bearer {revoked.key}",
        "expired": f"Bearer {expired.key}",
        "archived": f"Bearer {archived.key}",
        "case": f"Bearer {good.key.upper()}",
        "bytes": "Bearer tmpr_\xff",
    }
    seen = statements(context)
    answers, costs = set(), set()
    caplog.set_level(logging.DEBUG)
    for header in bad.values():
        seen.clear()
        headers = {} if header is None else {b"authorization": header.encode("latin-1")}
        answer: Any = api.get("/v1/files", headers=headers)
        assert answer.status_code == 401
        answers.add(body_of(answer))
        costs.add(tuple(each for each in seen if "audit_log" not in each))
    assert len(answers) == 1
    assert len(costs) == 1
    for tenant_ in (good, revoked, expired, archived):
        assert tenant_.key[18:] not in caplog.text
    assert good("GET", "/v1/files").status_code == 200


def test_a2_what_is_no_key_is_looked_up_and_compared_all_the_same() -> None:
    for text in ("", "tmpr_", "tmpr_000000000000_short", "tmpr_" + "a" * 12 + "_" + "b" * 44, "tmpr_é", "\0"):
        assert parse_secret(text) is None
    fresh = new_secret()
    assert parse_secret(fresh.text) == fresh
    assert fresh.secret not in repr(fresh)


def test_a8_a_scope_that_is_missing_is_refused_before_anything_is_looked_at(
    context: Context, tenant: MakeTenant, error_of: ErrorOf
) -> None:
    whole = tenant()
    upload = {"filename": "f", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
    there = whole("POST", "/v1/uploads", json=upload).json()["id"]
    for scopes, method, path, body in LACKING:
        poor = tenant(project=whole.project, scopes=scopes)
        poor("GET", "/v1/fine_tuning/jobs")  # its key is known now
        answers = set()
        with counting(context) as seen:
            for identity in (there, "missing"):
                answer = poor(method, path.format(missing=identity, own=whole.project), json=body)
                assert error_of(answer, 403)["code"] == "missing_scope", (scopes, path)
                answers.add(body_of(answer))
        assert len(answers) == 1, (scopes, path)
        assert [each for each in seen if not re.search("limit|audit|^BEGIN", each)] == [], (scopes, path)


def test_a_key_grants_no_more_than_it_has(tenant: MakeTenant, error_of: ErrorOf) -> None:
    one = tenant(scopes=["read", "keys"], expires_in_s=3600)
    path = f"{PROJECTS}/{one.project}/api_keys"
    body = {"name": "child", "scopes": ["read"], "expires_in_s": 60}
    assert one("POST", path, json=body).status_code == 200
    for change_, param in (
        ({"scopes": ["read", "train"]}, "scopes.1"),
        ({"expires_in_s": 7200}, "expires_in_s"),
        ({"expires_in_s": None}, "expires_in_s"),
    ):
        assert error_of(one("POST", path, json={**body, **change_}), 403)["param"] == param
    assert error_of(one("POST", path, json={**body, "scopes": ["admin"]}), 400)["param"] == "scopes.0"
    other = tenant()
    foreign = f"{PROJECTS}/{other.project}/api_keys"
    assert error_of(one("POST", foreign, json=body), 404)["code"] == "project_not_found"


def test_bad_bodies_of_keys_are_refused(tenant: MakeTenant, error_of: ErrorOf) -> None:
    one = tenant()
    for body in ({}, {"name": ""}, {"name": "a", "scopes": []}, {"name": "a\0"}, {"name": "a", "x": 1}):
        error_of(one("POST", f"{PROJECTS}/{one.project}/api_keys", json=body), 400)


def test_the_operator_acts_for_a_project_by_a_header(
    operator: Operator, tenant: MakeTenant, error_of: ErrorOf
) -> None:
    one = tenant()
    upload = {"filename": "f", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
    made = operator("POST", "/v1/uploads", json=upload, headers={"OpenAI-Project": one.project}).json()["id"]
    assert one("POST", f"/v1/uploads/{made}/cancel").status_code == 200
    for named in ("proj-missing", "\x7f"):
        answer = operator("GET", "/v1/files", headers={"OpenAI-Project": named})
        assert error_of(answer, 401)["code"] == "mismatched_project"


def test_a_key_acts_for_its_own_project_alone(tenant: MakeTenant, error_of: ErrorOf) -> None:
    one, other = tenant(), tenant()
    assert one("GET", "/v1/files", headers={"OpenAI-Project": one.project}).status_code == 200
    answers = {
        body_of(one("GET", "/v1/files", headers={"OpenAI-Project": named}))
        for named in (other.project, "proj-missing", "default")
    }
    assert len(answers) == 1
    assert error_of(one("GET", "/v1/files", headers={"OpenAI-Project": "default"}), 401)["code"] == (
        "mismatched_project"
    )


def test_without_an_operators_key_ours_has_to_be_good(
    api: TestClient, context: Context, tenant: MakeTenant
) -> None:
    one = tenant()
    object.__setattr__(context.settings, "api_key", None)
    assert api.get("/v1/files", headers={"authorization": "Bearer sk-any"}).status_code == 200
    assert one("GET", f"{PROJECTS}/{one.project}/api_keys").status_code == 200
    assert one("GET", PROJECTS).status_code == 403
    bad = {"authorization": f"Bearer {new_secret().text}"}
    assert api.get("/v1/files", headers=bad).status_code == 401


def test_l10_a_revoked_key_is_dead_within_five_seconds(context: Context, tenant: MakeTenant) -> None:
    now = [1000.0]
    known = KnownKeys(monotonic=lambda: now[0])
    one = tenant()
    secret = parse_secret(one.key)
    assert find_principal(context.database, known, secret) is not None
    change(context, one.key_id, revoked_at=1)
    assert find_principal(context.database, known, secret) is not None, "it is remembered"
    now[0] += REMEMBERED_S
    assert find_principal(context.database, known, secret) is None
    assert REMEMBERED_S < REVOCATION_S


def test_h2_a_keys_end_is_by_the_databases_clock(context: Context, clock: Any, tenant: MakeTenant) -> None:
    one = tenant(expires_in_s=3600)
    for away in (-(10**8), 10**8):
        clock.time += away
        forget(context)
        assert one("GET", "/v1/files").status_code == 200, "the process's clock is off"
    change(context, one.key_id, expires_at=int(context.database.now()) - 1)
    forget(context)
    clock.time -= 10**8
    assert one("GET", "/v1/files").status_code == 401


def test_a_remembered_key_does_not_outlive_its_end(context: Context, tenant: MakeTenant) -> None:
    one = tenant(expires_in_s=3600)
    change(context, one.key_id, expires_at=int(context.database.now()) + 2)
    now = [1000.0]
    known = KnownKeys(monotonic=lambda: now[0])
    assert find_principal(context.database, known, parse_secret(one.key)) is not None
    now[0] += 2.1
    assert known.get(parse_secret(one.key) or DUMMY) is None


def test_its_last_use_is_written_once_a_minute(context: Context, tenant: MakeTenant) -> None:
    one = tenant()
    seen = statements(context)
    for _ in range(3):
        forget(context)
        assert one("GET", "/v1/files").status_code == 200
    assert sum(each.startswith("UPDATE api_keys") for each in seen) == 1
    change(context, one.key_id, last_used_at=int(time.time()) - 61)
    forget(context)
    one("GET", "/v1/files")
    assert sum(each.startswith("UPDATE api_keys") for each in seen) == 3  # with this test's own


def test_a_known_key_asks_the_database_nothing(context: Context, tenant: MakeTenant) -> None:
    one = tenant()
    one("GET", "/v1/files")
    seen = statements(context)
    one("GET", "/v1/files")
    assert not any("api_keys" in each for each in seen)


def test_only_so_many_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.projects.lookup.MOST_REMEMBERED", 3)
    known = KnownKeys()
    secrets = [new_secret() for _ in range(5)]
    who: Any = SimpleNamespace()
    for secret in secrets:
        known.keep(secret, who, asked_at=known.monotonic(), lasts_s=60)
    assert [known.get(secret) is who for secret in secrets] == [False, False, True, True, True]


def test_lists_of_keys_go_page_by_page(tenant: MakeTenant, error_of: ErrorOf) -> None:
    one, other = tenant(), tenant()
    keys = [one.key_id, *(tenant(project=one.project).key_id for _ in range(4))]
    path, seen, after = f"{PROJECTS}/{one.project}/api_keys", [], ""
    while True:
        page = one("GET", f"{path}?limit=2{after}").json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert sorted(seen) == sorted(keys)
    assert error_of(one("GET", f"{path}?after={other.key_id}"), 400)["code"] == "invalid_cursor"
