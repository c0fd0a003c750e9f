"""The same request many times: one thing, and one answer to all of them."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from starlette.testclient import TestClient

from service.answers.fleet import forget_old
from service.answers.once import Answered
from service.answers.once import Claim
from service.answers.repository import WINDOW_S
from service.answers.rows import RequestAnswerRow
from service.app import create_app
from service.context import Context
from service.files.repository import FileRepository
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import ProjectRow
from service.tables import UploadRow

AT_ONCE = 50
KEY = "operator-key-of-this-test"
UPLOAD = {"filename": "d", "purpose": "fine-tune", "bytes": 5, "mime_type": "text/plain"}
SOURCE = {"type": "hub", "repo": "a/b", "revision": "a" * 40}
Create = Callable[..., Any]


def upload(api: TestClient, key: str, **more: Any) -> Any:
    return api.post("/v1/uploads", json={**UPLOAD, **more}, headers={"idempotency-key": key})


def base_model(api: TestClient, key: str, **more: Any) -> Any:
    body = {"source": SOURCE, **more}
    return api.post("/v1/base_models", json=body, headers={"idempotency-key": key})


def file(api: TestClient, key: str, content: bytes = b"x", **_more: Any) -> Any:
    return api.post(
        "/v1/files",
        data={"purpose": "fine-tune"},
        files={"file": ("a", content)},
        headers={"idempotency-key": key},
    )


CREATES: tuple[tuple[Create, type[Any], dict[str, Any]], ...] = (
    (upload, UploadRow, {"bytes": 6}),
    (base_model, BaseModelRow, {"id": "other"}),
    (file, FileRow, {"content": b"y"}),
)
creates = pytest.mark.parametrize(("create", "table", "other"), CREATES, ids=["upload", "base-model", "file"])


def count(context: Context, table: type[Any]) -> int:
    with context.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@creates
def test_d1_many_equal_requests_make_one_thing_and_get_one_answer(
    api: TestClient, context: Context, create: Create, table: type[Any], other: dict[str, Any]
) -> None:
    del other
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: create(api, "once"), range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == AT_ONCE
    assert count(context, table) == count(context, RequestAnswerRow) == 1


@creates
def test_d2_another_body_with_the_same_key_is_refused(
    api: TestClient,
    context: Context,
    error_of: Callable[..., dict[str, Any]],
    create: Create,
    table: type[Any],
    other: dict[str, Any],
) -> None:
    first = create(api, "k")
    assert error_of(create(api, "k", **other), 422)["code"] == "idempotency_mismatch"
    assert create(api, "k").content == first.content
    assert create(api, "k2", **other).json()["id"] != first.json()["id"]
    assert count(context, table) == 2


def test_a_repeated_upload_leaves_one_object(api: TestClient, context: Context) -> None:
    first, second = file(api, "k"), file(api, "k")
    assert first.content == second.content
    assert file(api, "k", b"other").status_code == 422
    assert [found.key for found in context.store.list("")] == [f"files/{first.json()['id']}"]


def test_d3_another_projects_key_is_another_key(context: Context) -> None:
    guarded = replace(context, settings=replace(context.settings, api_key=KEY))
    with context.database.writing() as session:
        session.add(ProjectRow(id="proj-two", name="two", created_at=1))
    with TestClient(create_app(guarded), base_url="http://127.0.0.1:8000") as client:
        client.headers.update({"authorization": f"Bearer {KEY}"})
        ids = []
        for project in ("default", "proj-two"):
            client.headers["openai-project"] = project
            ids.append(upload(client, "k").json()["id"])
            assert upload(client, "k").json()["id"] == ids[-1]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("key", [b"", b" ", b"x" * 256, b"caf\xc3\xa9", b"a\x7fb"])
def test_d5_a_key_that_cannot_be_one_is_refused(
    api: TestClient, context: Context, error_of: Callable[..., dict[str, Any]], key: bytes
) -> None:
    answer = api.post("/v1/uploads", json=UPLOAD, headers={b"idempotency-key": key})
    assert error_of(answer, 400)["code"] == "invalid_idempotency_key"
    assert count(context, UploadRow) == 0


@pytest.fixture
def fragile(context: Context) -> Iterator[TestClient]:
    with TestClient(
        create_app(context), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
    ) as client:
        yield client


def test_d10_an_unforeseen_failure_is_the_answer_for_good(
    fragile: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("nobody foresaw this")

    with monkeypatch.context() as broken:
        broken.setattr(FileRepository, "add", fail)
        first = file(fragile, "k")
    assert first.status_code == 500
    again = file(fragile, "k")
    assert (again.status_code, again.content) == (500, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert count(context, FileRow) == 0
    assert file(fragile, "new").status_code == 200


def test_what_was_refused_may_be_sent_again(
    api: TestClient, context: Context, error_of: Callable[..., dict[str, Any]]
) -> None:
    assert base_model(api, "k", id="").status_code == 400
    taken = base_model(api, "first", id="one").json()["id"]
    assert error_of(base_model(api, "k", id=taken), 409)["code"] == "id_taken"
    assert count(context, RequestAnswerRow) == 1
    assert base_model(api, "k", id="two").status_code == 200


class Shown(BaseModel):
    """What is answered."""

    id: str
    secret: str = "told once"


class Killed(Exception):  # noqa: N818 - no error
    """The process ends here."""


def test_d4_a_crash_leaves_neither_thing_nor_key_or_both_and_the_answer(context: Context) -> None:
    def create(*, dies: bool) -> None:
        claim = Claim(project="default", key="k", route="POST /v1/things")
        with context.database.writing() as session:
            claim.begin(session, "body")
            session.add(ProjectRow(id="proj-new", name="new", created_at=1))
            claim.done(session, Shown(id="proj-new"), hide=("secret",))
            session.flush()
            if dies:
                raise Killed

    with pytest.raises(Killed):
        create(dies=True)
    assert (count(context, ProjectRow), count(context, RequestAnswerRow)) == (1, 0)
    create(dies=False)
    # Here a process may die before it has answered: the repetition gets what it would have said, but no secret.
    with pytest.raises(Answered) as known:
        create(dies=False)
    assert (known.value.status, known.value.body) == (200, '{"id":"proj-new","secret":null}')
    assert (count(context, ProjectRow), count(context, RequestAnswerRow)) == (2, 1)


def _age(context: Context, seconds: float) -> None:
    with context.database.writing() as session:
        session.execute(text("UPDATE request_answers SET created_at = created_at - :s"), {"s": seconds})


def test_a_key_is_free_after_a_day_by_the_databases_clock(api: TestClient, context: Context) -> None:
    first = upload(api, "k").json()["id"]
    _age(context, WINDOW_S - 60)
    assert upload(api, "k").json()["id"] == first
    _age(context, 61)
    second = upload(api, "k", bytes=6).json()["id"]
    assert second != first
    assert upload(api, "k", bytes=6).json()["id"] == second


def test_old_answers_are_forgotten(api: TestClient, context: Context) -> None:
    upload(api, "old")
    _age(context, WINDOW_S + 1)
    upload(api, "young")
    with context.database.writing() as session:
        forget_old(session)
    assert count(context, RequestAnswerRow) == 1


def test_without_a_key_every_request_is_its_own(api: TestClient, context: Context) -> None:
    ids = {api.post("/v1/uploads", json=UPLOAD).json()["id"] for _ in range(3)}
    assert len(ids) == count(context, UploadRow) == 3
    assert count(context, RequestAnswerRow) == 0
