"""The uploads API, one process."""

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from service.context import Context
from service.tidy import tidy

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]


def create(api: TestClient, size: int = 10, **more: Any) -> Any:
    body = {"filename": "d.jsonl", "purpose": "fine-tune", "bytes": size, "mime_type": "text/jsonl", **more}
    return api.post("/v1/uploads", json=body)


def add(api: TestClient, upload: str, content: bytes) -> Any:
    return api.post(f"/v1/uploads/{upload}/parts", files={"data": ("upload", content)})


def complete(api: TestClient, upload: str, parts: list[str], **more: Any) -> Any:
    return api.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts, **more})


@pytest.fixture
def pending(api: TestClient) -> tuple[str, list[str]]:
    """An upload whose two parts arrived in the wrong order."""
    upload = create(api).json()["id"]
    return upload, [add(api, upload, b"world").json()["id"], add(api, upload, b"hello").json()["id"]]


def test_parts_are_joined_in_the_order_that_is_named(
    api: TestClient, context: Context, pending: tuple[str, list[str]]
) -> None:
    upload, (second, first) = pending
    md5 = hashlib.md5(b"helloworld").hexdigest()  # noqa: S324 - OpenAI's choice
    done = complete(api, upload, [first, second], md5=md5.upper()).json()
    assert (done["status"], done["file"]["bytes"]) == ("completed", 10)
    assert done["file"]["sha256"] == hashlib.sha256(b"helloworld").hexdigest()
    file_id = done["file"]["id"]
    assert api.get(f"/v1/files/{file_id}/content").content == b"helloworld"
    assert [found.key for found in context.store.list("")] == [f"files/{file_id}"]
    assert complete(api, upload, [first, second]).json() == done


def test_an_upload_tells_when_it_ends(api: TestClient) -> None:
    made = create(api).json()
    assert made["object"] == "upload"
    assert (made["status"], made["file"]) == ("pending", None)
    assert made["expires_at"] == made["created_at"] + 3600


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("purpose", "vision"),
        ("bytes", 0),
        ("bytes", "10"),
        ("bytes", 1.5),
        ("bytes", True),
        ("filename", ""),
        ("filename", "a\nb"),
        ("mime_type", None),
        ("colour", "red"),
        ("expires_after", {"anchor": "created_at", "seconds": 1}),
    ],
)
def test_a_bad_field_is_named(api: TestClient, error_of: ErrorOf, field: str, bad: Any) -> None:
    param = error_of(create(api, **{field: bad}), 400)["param"]
    assert param == (f"{field}.seconds" if field == "expires_after" else field)


def test_an_upload_over_the_limit_is_refused(api: TestClient, error_of: ErrorOf) -> None:
    assert error_of(create(api, (8 << 30) + 1), 413)["param"] == "bytes"


def test_the_file_may_expire(api: TestClient) -> None:
    upload = create(api, 1, expires_after={"anchor": "created_at", "seconds": 7200}).json()["id"]
    part = add(api, upload, b"x").json()["id"]
    file = complete(api, upload, [part]).json()["file"]
    assert file["expires_at"] == file["created_at"] + 7200


@pytest.mark.parametrize("chosen", [[0], [1]])
def test_the_parts_must_have_the_announced_size(
    api: TestClient, pending: tuple[str, list[str]], error_of: ErrorOf, chosen: list[int]
) -> None:
    upload, parts = pending
    error = error_of(complete(api, upload, [parts[position] for position in chosen]), 400)
    assert (error["code"], error["param"]) == ("size_mismatch", "part_ids")


def test_a_part_is_named_once(api: TestClient, pending: tuple[str, list[str]], error_of: ErrorOf) -> None:
    upload, (first, _) = pending
    assert error_of(complete(api, upload, [first, first]), 400)["param"] == "part_ids.1"


def test_a_part_of_another_upload_is_refused(
    api: TestClient, pending: tuple[str, list[str]], error_of: ErrorOf
) -> None:
    other = create(api, 5).json()["id"]
    assert error_of(complete(api, other, [pending[1][0]]), 400)["param"] == "part_ids.0"


def test_another_md5_is_refused_and_leaves_no_file(
    api: TestClient, context: Context, pending: tuple[str, list[str]], error_of: ErrorOf
) -> None:
    upload, parts = pending
    assert error_of(complete(api, upload, parts, md5="0" * 32), 400)["code"] == "md5_mismatch"
    assert list(context.store.list("files/")) == []
    assert complete(api, upload, parts).json()["status"] == "completed"


def test_no_parts_are_no_file(api: TestClient, error_of: ErrorOf) -> None:
    upload = create(api).json()["id"]
    assert error_of(complete(api, upload, []), 400)["param"] == "part_ids"


def test_an_empty_part_is_refused(api: TestClient, context: Context, error_of: ErrorOf) -> None:
    upload = create(api).json()["id"]
    assert error_of(add(api, upload, b""), 400)["param"] == "data"
    assert list(context.store.list("")) == []


def test_a_part_larger_than_the_upload_is_refused(
    api: TestClient, context: Context, error_of: ErrorOf
) -> None:
    upload = create(api).json()["id"]
    assert error_of(add(api, upload, b"x" * 11), 413)["param"] == "data"
    assert list(context.store.list("")) == []


def test_a_cancelled_upload_is_over(
    api: TestClient, context: Context, pending: tuple[str, list[str]], error_of: ErrorOf
) -> None:
    upload, parts = pending
    assert api.post(f"/v1/uploads/{upload}/cancel").json()["status"] == "cancelled"
    assert list(context.store.list("")) == []
    for response in (
        add(api, upload, b"x"),
        complete(api, upload, parts),
        api.post(f"/v1/uploads/{upload}/cancel"),
    ):
        assert error_of(response, 409)["code"] == "upload_not_pending"
        assert response.headers["x-should-retry"] == "false"


def test_a_completed_upload_takes_no_parts_and_cannot_be_cancelled(
    api: TestClient, pending: tuple[str, list[str]], error_of: ErrorOf
) -> None:
    upload, parts = pending
    complete(api, upload, parts)
    error_of(add(api, upload, b"x"), 409)
    error_of(api.post(f"/v1/uploads/{upload}/cancel"), 409)


def test_an_upload_expires(
    api: TestClient, context: Context, pending: tuple[str, list[str]], error_of: ErrorOf, clock: Any
) -> None:
    upload, parts = pending
    clock.time += 3600
    assert error_of(complete(api, upload, parts), 409)["code"] == "upload_expired"
    assert list(context.store.list("")) == []


def test_an_overdue_upload_is_tidied_up_at_start(
    context: Context, pending: tuple[str, list[str]], clock: Any
) -> None:
    assert len(list(context.store.list("uploads/"))) == len(pending[1])
    tidy(context)
    assert len(list(context.store.list("uploads/"))) == len(pending[1])
    clock.time += 3600
    tidy(context)
    assert list(context.store.list("")) == []


@pytest.mark.parametrize("action", ["parts", "complete", "cancel"])
def test_an_unknown_upload_is_not_found(api: TestClient, error_of: ErrorOf, action: str) -> None:
    url = "/v1/uploads/upload-none"
    answers = {
        "parts": lambda: add(api, "upload-none", b"x"),
        "complete": lambda: complete(api, "upload-none", ["x"]),
        "cancel": lambda: api.post(f"{url}/cancel"),
    }
    assert error_of(answers[action](), 404)["code"] == "upload_not_found"
