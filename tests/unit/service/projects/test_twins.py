"""Two tenants and every route: another's id answers byte for byte like one that is missing, at the same cost."""

import itertools
import re
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from service.app import create_app
from service.context import Context
from service.settings import settings_from_env
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import JobRow
from service.tables import ModelRow
from service.tables import ScanRow
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow

MakeTenant = Callable[..., Any]
ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
FILE = {"file": ("f.jsonl", b'{"prompt": "p", "completion": "c"}\n')}
OURS: Any = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/.well-known/temper-signing-keys")
"""About no project."""
BOOKKEEPING = re.compile(r"^BEGIN|limit_|audit_log|project_limits|request_answers|byte_reservations")
"""What is written now and then of whoever asks, by other threads as well: not a matter of what is asked for."""
WEBHOOK = {"name": "w", "url": "https://a.hooks.example.test/", "event_types": ["*"]}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/uploads/{upload_id}/parts"): {"files": {"data": ("d", b"x")}},
    ("POST", "/v1/uploads/{upload_id}/complete"): {"json": {"part_ids": ["part-1"]}},
    ("PUT", "/v1/base_models/{base_model_id}/files/{name}"): {"content": b"x"},
    ("POST", "/v1/endpoints/{endpoint_id}"): {"json": {"idle_s": 600}},
    ("POST", "/v1/organization/projects/{project_id}"): {"json": {"name": "n"}},
    ("POST", "/v1/organization/projects/{project_id}/archive"): {"json": {"data": "keep"}},
    ("POST", "/v1/organization/projects/{project_id}/api_keys"): {"json": {"name": "n", "scopes": ["read"]}},
    ("POST", "/v1/organization/projects/{project_id}/limits"): {"json": {}},
    ("POST", "/v1/webhook_endpoints/{webhook_id}"): {"json": {"name": "n"}},
    ("POST", "/v1/webhook_endpoints/{webhook_id}/rotate_secret"): {"json": {}},
    ("POST", "/v1/webhook_endpoints/{webhook_id}/test"): {
        "json": {"event_type": "fine_tuning.job.succeeded"}
    },
}
BY_BODY = (
    ("/v1/fine_tuning/jobs", lambda ids: {"model": ids["base_model_id"], "training_file": "file-none"}),
    ("/v1/scans", lambda ids: {"file": ids["file_id"]}),
    ("/v1/endpoints", lambda ids: {"model": ids["base_model_id"]}),
    ("/v1/endpoints", lambda ids: {"model": ids["model"]}),
    ("/v1/completions", lambda ids: {"model": ids["model"], "prompt": "p"}),
    (
        "/v1/chat/completions",
        lambda ids: {"model": ids["model"], "messages": [{"role": "user", "content": "p"}]},
    ),
)
"""Routes that take ids in their bodies."""
LISTS = {
    "/v1/files": "file_id",
    "/v1/base_models": "base_model_id",
    "/v1/fine_tuning/jobs": "job_id",
    "/v1/endpoints": "endpoint_id",
    "/v1/scans": "scan_id",
    "/v1/webhook_endpoints": "webhook_id",
}
"""Lists that go on after an id."""


@pytest.fixture
def settings(tmp_path: Any, database_url: str) -> Any:
    """With a host that webhooks may go to."""
    return settings_from_env(
        {
            "TEMPER_HOME": str(tmp_path / "home"),
            "TEMPER_DATABASE_URL": database_url,
            "TEMPER_WEBHOOK_HOSTS": "*.hooks.example.test",
        }
    )


@dataclass(frozen=True, kw_only=True)
class Twins:
    """The one who owns, the one who asks, and what the first has, by the names of paths."""

    owner: Any
    other: Any
    ids: dict[str, str]

    def missing(self) -> dict[str, str]:
        """Ids of the same form that name nothing."""
        return {name: identity if name == "name" else _other(identity) for name, identity in self.ids.items()}


def _other(identity: str) -> str:
    """As long, and nobody's."""
    head, dash, tail = identity.rpartition("-")
    return f"{head}{dash}{'0' * len(tail)}"


@pytest.fixture
def twins(context: Context, tenant: MakeTenant) -> Twins:
    """The first has one of everything."""
    owner, other = tenant(), tenant()
    upload = {"filename": "f", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
    ids = {
        "file_id": owner("POST", "/v1/files", data={"purpose": "fine-tune"}, files=FILE).json()["id"],
        "upload_id": owner("POST", "/v1/uploads", json=upload).json()["id"],
        "base_model_id": "base-mine",
        "name": "config.json",
        "model": "ft-0123",
        "project_id": owner.project,
        "key_id": owner.key_id,
        "endpoint_id": "ep-0123",
        "webhook_id": "webhook-0123",
        "delivery_id": "delivery-0123",
    }
    with context.database.writing() as session:
        session.add_all(_rows(context, owner.project, ids))
        session.flush()
        session.add_all(_later_rows(context, owner.project, ids))
    asked = {"model": "base-mine", "training_file": ids["file_id"]}
    ids["job_id"] = owner("POST", "/v1/fine_tuning/jobs", json=asked).json()["id"]
    ids["scan_id"] = owner("POST", "/v1/scans", json={"file": ids["file_id"]}).json()["id"]
    return Twins(owner=owner, other=other, ids=ids)


def _rows(context: Context, project: str, ids: dict[str, str]) -> Iterator[Any]:
    source = {"type": "upload", "files": [{"name": "config.json", "size_bytes": 1, "sha256": "0" * 64}]}
    yield BaseModelRow(
        project=project, id="base-mine", key="base-k", status="ready", source=source, uri="file:///none/m",
        files=[], architecture="decoder", parameters=1, created_at=1,
    )  # fmt: skip
    yield WebhookRow(
        project=project, id=ids["webhook_id"], name="w", url=WEBHOOK["url"], event_types=["*"],
        created_at=1, updated_at=1,
    )  # fmt: skip


def _later_rows(context: Context, project: str, ids: dict[str, str]) -> Iterator[Any]:
    yield ModelRow(
        project=project, id=ids["model"], job_id=None, base_model_id="base-mine", arm="hardened",
        uri=f"{context.store.uri}/jobs/j/attempts/1/p/models/hardened/", files=[], architecture="decoder",
        parameters=1, created_at=1,
    )  # fmt: skip
    yield EndpointRow(
        project=project, id=ids["endpoint_id"], model_id=ids["model"], active_model_id=ids["model"],
        status="starting", created_at=1,
    )  # fmt: skip
    yield DeliveryRow(
        project=project, id=ids["delivery_id"], webhook_id=ids["webhook_id"], event_id="e", event_type="t",
        event_at=1, data={}, status="failed", created_at=1,
    )  # fmt: skip


def routes(context: Context) -> list[tuple[str, str]]:
    """Method and path of every route that names something."""
    found = []
    for route in create_app(context).routes:
        if isinstance(route, APIRoute) and route.path not in OURS:
            found += [(method, route.path) for method in sorted(route.methods) if "{" in route.path]
    return found


def fill(path: str, ids: dict[str, str]) -> str:
    names = re.findall(r"\{(\w+)(?::path)?\}", path)
    assert set(names) <= set(ids), f"{path} names something that these tests do not know"
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: ids[match[1]], path)


def normal(response: httpx.Response, ids: dict[str, str]) -> tuple[int, bytes, tuple[str, ...]]:
    """What can be seen of an answer, without the id that was asked for and that of the request."""
    body = response.content.replace(response.headers["x-request-id"].encode(), b"REQUEST")
    for identity in sorted(ids.values(), key=len, reverse=True):
        body = body.replace(identity.encode(), b"ID")
    return response.status_code, body, tuple(sorted(set(response.headers) - {"content-length"}))


@dataclass
class Costs:
    """Statements of one request."""

    context: Context

    def of(self, ask: Callable[[], httpx.Response]) -> tuple[httpx.Response, list[str]]:
        """An answer and what was asked of the database for it."""
        seen: list[str] = []

        def see(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if not BOOKKEEPING.search(statement):
                seen.append(statement)

        engine = self.context.database.engine
        sqlalchemy.event.listen(engine, "before_cursor_execute", see)
        try:
            return ask(), seen
        finally:
            sqlalchemy.event.remove(engine, "before_cursor_execute", see)


def keep_known(context: Context, twins: Twins) -> None:
    """Keys are remembered as long as this test takes: whether one is asked for is not what is counted."""
    twins.other("GET", "/v1/files")
    for known in context.known_keys._known.values():
        known.until = float("inf")


def test_l1_every_route_answers_for_anothers_id_as_for_a_missing_one(context: Context, twins: Twins) -> None:
    missing, costs = twins.missing(), Costs(context)
    every = routes(context)
    assert len(every) > 30
    keep_known(context, twins)
    for method, path in every:
        more = BODIES.get((method, path), {})
        foreign, work = costs.of(lambda: twins.other(method, fill(path, twins.ids), **more))  # noqa: B023
        nothing, as_much = costs.of(lambda: twins.other(method, fill(path, missing), **more))  # noqa: B023
        assert normal(foreign, twins.ids) == normal(nothing, missing), (method, path)
        refused = (
            403 if path.count("/") < 7 and "organization/projects" in path and "api_keys" not in path else 404
        )
        assert foreign.status_code == refused, (method, path, foreign.text)
        assert work == as_much, (method, path)


def test_l1_the_owner_sees_what_the_other_does_not(context: Context, twins: Twins) -> None:
    """Else the test above would show nothing."""
    hidden = {"/v1/reports/{job_id}", "/v1/scans/{scan_id}/rows", "/v1/models/{model:path}/evidence"}
    for method, path in routes(context):
        if (
            method == "GET"
            and path not in hidden
            and not re.search(r"projects/\{project_id\}(/limits)?$", path)
        ):
            answer = twins.owner("GET", fill(path, twins.ids))
            assert answer.status_code == 200, (path, answer.text)


def test_l1_ids_in_bodies_as_well(context: Context, twins: Twins) -> None:
    missing, costs = twins.missing(), Costs(context)
    keep_known(context, twins)
    for path, body in BY_BODY:
        foreign, work = costs.of(lambda: twins.other("POST", path, json=body(twins.ids)))  # noqa: B023
        nothing, as_much = costs.of(lambda: twins.other("POST", path, json=body(missing)))  # noqa: B023
        assert foreign.status_code == 404, (path, foreign.text)
        assert normal(foreign, twins.ids) == normal(nothing, missing), path
        assert work == as_much, path


def test_l1_a_file_of_another_trains_nothing(twins: Twins, tenant: MakeTenant, error_of: ErrorOf) -> None:
    """With a base model of one's own, whose id the other has as well."""
    source = {"type": "hub", "repo": "a/b", "revision": "0" * 40}
    own = twins.other("POST", "/v1/base_models", json={"id": "base-mine", "source": source})
    assert own.status_code == 200
    for identity in (twins.ids["file_id"], twins.missing()["file_id"]):
        asked = {"model": "base-mine", "training_file": identity}
        answer = twins.other("POST", "/v1/fine_tuning/jobs", json=asked)
        assert error_of(answer, 404)["param"] == "training_file"


def test_l1_lists_hold_ones_own_alone(twins: Twins) -> None:
    for path in (*LISTS, "/v1/models"):
        assert twins.owner("GET", path).json()["data"] != []
        assert twins.other("GET", path).json()["data"] == [], path


def test_a11_a_cursor_of_another_is_refused_as_a_forged_one(context: Context, twins: Twins) -> None:
    missing, costs = twins.missing(), Costs(context)
    keep_known(context, twins)
    for path, name in LISTS.items():
        assert twins.owner("GET", f"{path}?after={twins.ids[name]}").status_code == 200
        foreign, work = costs.of(lambda: twins.other("GET", f"{path}?after={twins.ids[name]}"))  # noqa: B023
        nothing, as_much = costs.of(lambda: twins.other("GET", f"{path}?after={missing[name]}"))  # noqa: B023
        assert foreign.status_code == 400, path
        assert normal(foreign, twins.ids) == normal(nothing, missing), path
        assert work == as_much, path
        for forged in ("", "%00", "'; DROP TABLE files; --", "x" * 5000, "%F0%9F%92%A9"):
            assert twins.other("GET", path, params={"after": forged}).status_code == 400, path


def test_a11_a_cursor_of_what_is_gone_goes_on_or_is_refused(tenant: MakeTenant) -> None:
    one = tenant()
    files = [
        one("POST", "/v1/files", data={"purpose": "fine-tune"}, files=FILE).json()["id"] for _ in range(3)
    ]
    assert one("DELETE", f"/v1/files/{files[1]}").status_code == 200
    page = one("GET", f"/v1/files?after={files[1]}").json()
    assert [each["id"] for each in page["data"]] == [files[0]]


def test_d3_the_same_idempotency_key_of_another_is_independent(context: Context, tenant: MakeTenant) -> None:
    one, other = tenant(), tenant()
    source = {"type": "hub", "repo": "a/b", "revision": "0" * 40}
    made: dict[str, list[str]] = {}
    for each in (one, other):
        assert each("POST", "/v1/base_models", json={"id": "m", "source": source}).status_code == 200
        file = each("POST", "/v1/files", data={"purpose": "fine-tune"}, files=FILE).json()["id"]
        for path, body in (
            ("/v1/fine_tuning/jobs", {"model": "m", "training_file": file}),
            ("/v1/scans", {"file": file}),
        ):
            headers = {"Idempotency-Key": "the-same"}
            answers = [each("POST", path, json=body, headers=headers) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
            first, again = (answer.json()["id"] for answer in answers)
            assert first == again
            made.setdefault(path, []).append(first)
    assert all(a != b for a, b in made.values())


def test_d3_and_another_body_under_it_is_no_mismatch_of_anothers(
    tenant: MakeTenant, error_of: ErrorOf
) -> None:
    one, other = tenant(), tenant()
    headers = {"Idempotency-Key": "k"}
    files = {}
    for each in (one, other):
        files[each.project] = each("POST", "/v1/files", data={"purpose": "fine-tune"}, files=FILE).json()[
            "id"
        ]
        answer = each("POST", "/v1/scans", json={"file": files[each.project]}, headers=headers)
        assert answer.status_code == 200, "the bodies differ, for the files do"
    mismatch = one("POST", "/v1/scans", json={"file": files[one.project], "seed": 7}, headers=headers)
    assert error_of(mismatch, 422)["code"] == "idempotency_mismatch"


def test_one_id_of_a_base_model_and_one_endpoint_in_each_project(
    context: Context, tenant: MakeTenant
) -> None:
    one, other = tenant(), tenant()
    keys = set()
    for each in (one, other):
        with context.database.writing() as session:
            session.add(
                BaseModelRow(
                    project=each.project,
                    id="same",
                    key=f"base-{each.key_id}",
                    status="ready",
                    source={},
                    uri="file:///none",
                    files=[],
                    architecture="decoder",
                    parameters=1,
                    created_at=1,
                )
            )
        first = each("POST", "/v1/endpoints", json={"model": "same"})
        assert first.status_code == 200, first.text
        assert each("POST", "/v1/endpoints", json={"model": "same"}).json()["id"] == first.json()["id"]
        keys.add(first.json()["id"])
    assert len(keys) == 2


def test_objects_of_base_models_do_not_meet_in_the_store(context: Context, tenant: MakeTenant) -> None:
    source = {"type": "upload", "files": [{"name": "config.json", "size_bytes": 2, "sha256": "0" * 64}]}
    stored = set()
    for each in (tenant(), tenant()):
        assert each("POST", "/v1/base_models", json={"id": "m", "source": source}).status_code == 200
    with context.database.reading() as session:
        for row in session.scalars(sqlalchemy.select(BaseModelRow)):
            stored.add(row.stored_as)
    assert len(stored) == 2
    assert "m" not in stored


def test_a9_what_breaks_inside_tells_an_incident_and_nothing_else(
    api: TestClient, tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch, error_of: ErrorOf
) -> None:
    one = tenant()
    secret = "SELECT secret FROM somewhere at line 12"

    def broken(*_arguments: Any, **_more: Any) -> Any:
        raise RuntimeError(secret)

    for target in (
        "service.jobs.repository.JOBS.__class__.page",
        "service.files.repository.FileRepository.page",
    ):
        monkeypatch.setattr(target, broken)
    for path in ("/v1/fine_tuning/jobs", "/v1/files"):
        answer = one("GET", path)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "incident-" in answer.text
        for word in (secret, "Traceback", "RuntimeError", ".py", "SELECT"):
            assert word not in answer.text


def test_pages_of_one_project_read_an_index_of_its_own(context: Context, tenant: MakeTenant) -> None:
    """So that another's ten thousand jobs cost this one's page nothing."""
    if context.database.shared:
        pytest.skip("a planner of PostgreSQL looks at how many rows there are")
    queries = {row.__tablename__: row for row in (JobRow, ScanRow, EndpointRow, ModelRow)}
    with context.database.reading() as session:
        for name, row in itertools.chain(queries.items(), [("base_models", BaseModelRow)]):
            page = sqlalchemy.select(row).where(row.project == "p", row.created_at < 5)
            sql = str(page.order_by(row.created_at.desc(), row.id.desc()).compile(session.get_bind(), compile_kwargs={"literal_binds": True}))  # fmt: skip
            plan = session.execute(sqlalchemy.text(f"EXPLAIN QUERY PLAN {sql}")).all()
            told = " ".join(str(each[3]) for each in plan)
            assert f"ix_{name}_project_created_at_id" in told, told
            assert "TEMP B-TREE" not in told
