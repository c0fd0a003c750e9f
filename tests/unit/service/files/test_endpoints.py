"""The files API, one process."""

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable
from service.context import Context
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobRow

SECONDS_KEY = "expires_after[seconds]"


def upload(api: TestClient, content: bytes = b"x\n", *, name: str = "d.jsonl", **fields: str) -> Any:
    return api.post("/v1/files", data={"purpose": "fine-tune", **fields}, files={"file": (name, content)})


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["detail"] == body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


def stored_keys(context: Context) -> list[str]:
    return [found.key for found in context.store.list("")]


def test_a_file_comes_back_as_it_went_in(api: TestClient) -> None:
    content = bytes(range(256)) * 1000
    created = upload(api, content, name="häß lich.jsonl").json()
    assert created["object"] == "file"
    assert created["bytes"] == len(content)
    assert created["filename"] == "häß lich.jsonl"
    assert created["status"] == "processed"
    assert created["purpose"] == "fine-tune"
    assert api.get(f"/v1/files/{created['id']}").json() == created
    download = api.get(f"/v1/files/{created['id']}/content")
    assert download.content == content
    assert download.headers["content-type"] == "application/octet-stream"
    assert download.headers["x-content-type-options"] == "nosniff"


def test_fields_may_follow_the_file(api: TestClient) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nevals\r\n--b--\r\n'
    )
    response = api.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert response.json()["purpose"] == "evals"
    assert api.get(f"/v1/files/{response.json()['id']}/content").content == b"hello"


def test_a_bad_field_after_the_file_leaves_nothing(api: TestClient, context: Context) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b--\r\n'
    )
    response = api.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert error_of(response, 400)["param"] == "purpose"
    assert stored_keys(context) == []
    assert api.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize("purpose", ["vision", "fine-tune-results", "", "batch", "fine-tune "])
def test_only_our_purposes_are_taken(api: TestClient, context: Context, purpose: str) -> None:
    error = error_of(upload(api, purpose=purpose), 400)
    assert (error["code"], error["param"]) == ("invalid_purpose", "purpose")
    assert stored_keys(context) == []


def test_the_purpose_is_required(api: TestClient, context: Context) -> None:
    response = api.post("/v1/files", files={"file": ("a", b"x")})
    assert error_of(response, 400)["param"] == "purpose"
    assert stored_keys(context) == []


def test_the_file_is_required(api: TestClient) -> None:
    response = api.post("/v1/files", files={"other": ("a", b"x")})
    assert error_of(response, 400)["code"] == "missing_file"


def test_an_empty_file_is_refused(api: TestClient, context: Context) -> None:
    assert error_of(upload(api, b""), 400)["code"] == "empty_file"
    assert stored_keys(context) == []


def test_an_unknown_field_is_named(api: TestClient) -> None:
    assert error_of(upload(api, colour="red"), 400)["param"] == "colour"


def test_a_second_file_is_refused(api: TestClient, context: Context) -> None:
    response = api.post(
        "/v1/files",
        data={"purpose": "fine-tune"},
        files=[("file", ("a", b"x")), ("file", ("b", b"y"))],
    )
    assert error_of(response, 400)["param"] == "file"
    assert stored_keys(context) == []


def test_a_long_field_is_refused(api: TestClient) -> None:
    assert error_of(upload(api, purpose="x" * 5000), 400)["param"] == "purpose"


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\data\\passwd", "/passwd"])
def test_only_the_last_part_of_a_path_is_kept(api: TestClient, name: str) -> None:
    assert upload(api, name=name).json()["filename"] == "passwd"


def test_a_file_name_with_control_characters_is_refused(api: TestClient) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x1b[31m"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nevals\r\n--b--\r\n'
    )
    response = api.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    error_of(response, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b"nonsense",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b',
        b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="\xff"; filename="a"\r\n\r\nhello\r\n--b--\r\n',
        b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"--b\r\nX: " + b"y" * 100_000,
    ],
)
def test_a_malformed_form_is_refused(api: TestClient, context: Context, body: bytes) -> None:
    response = api.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    error_of(response, 400)
    assert stored_keys(context) == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "", "text/plain"])
def test_only_forms_are_taken(api: TestClient, kind: str) -> None:
    error_of(api.post("/v1/files", content=b"{}", headers={"content-type": kind}), 415)


def test_a_file_over_the_limit_is_refused(context: Context, api: TestClient) -> None:
    object.__setattr__(context.settings, "max_file_bytes", 1000)
    assert upload(api, b"x" * 1000).status_code == 200
    assert error_of(upload(api, b"x" * 1001), 413)["param"] == "file"
    assert len(stored_keys(context)) == 1


def test_pages_cover_all_files_once(api: TestClient, clock: Any) -> None:
    made = []
    for number in range(7):
        made.append(upload(api, name=f"{number}").json()["id"])
        clock.time += number % 2
    for order in ("asc", "desc"):
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = api.get("/v1/files", params={"limit": 2, "order": order, **after}).json()
            seen += [item["id"] for item in page["data"]]
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert seen == (sorted(made) if order == "asc" else sorted(made, reverse=True))


def test_a_deleted_file_still_marks_its_place(api: TestClient) -> None:
    made = [upload(api, name=f"{number}").json()["id"] for number in range(3)]
    newest = sorted(made)[-1]
    api.delete(f"/v1/files/{newest}")
    page = api.get("/v1/files", params={"after": newest}).json()
    assert [item["id"] for item in page["data"]] == sorted(made)[1::-1]


def test_an_empty_list_has_no_ends(api: TestClient) -> None:
    assert api.get("/v1/files").json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_lists_filter_by_purpose(api: TestClient) -> None:
    upload(api)
    probe = upload(api, purpose="evals").json()["id"]
    found = api.get("/v1/files", params={"purpose": "evals"}).json()["data"]
    assert [item["id"] for item in found] == [probe]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"limit": "two"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "file-forged"}, "after"),
    ],
)
def test_a_bad_query_is_named(api: TestClient, query: dict[str, str], param: str) -> None:
    assert error_of(api.get("/v1/files", params=query), 400)["param"] == param


@pytest.mark.parametrize("path", ["/v1/files/file-none", "/v1/files/file-none/content", "/v1/files/x%00y"])
def test_an_unknown_file_is_not_found(api: TestClient, path: str) -> None:
    # PostgreSQL cannot even be asked for a NUL.
    assert error_of(api.get(path), 404)["code"] in {"file_not_found", "not_found"}


def test_deleting_deletes_the_content(api: TestClient, context: Context) -> None:
    made = upload(api).json()["id"]
    assert api.delete(f"/v1/files/{made}").json() == {"id": made, "object": "file", "deleted": True}
    assert stored_keys(context) == []
    error_of(api.get(f"/v1/files/{made}"), 404)
    error_of(api.delete(f"/v1/files/{made}"), 404)


def add_job(context: Context, file_id: str, *, status: str, role: str) -> None:
    files = {"training_file": file_id, "validation_file": None, "probe_file": None, role: file_id}
    with context.database.writing() as session:
        session.add(BaseModelRow(id="base", status="ready", source={}, files=[], created_at=0, version=0))
        session.add(
            JobRow(
                id="ftjob-1",
                model="base",
                method={},
                hyperparameters={},
                hardening={},
                seed=0,
                status=status,
                created_at=0,
                **files,
            )
        )


@pytest.mark.parametrize("status", ["validating_files", "queued", "running"])
@pytest.mark.parametrize("role", ["training_file", "validation_file", "probe_file"])
def test_d8_a_file_that_a_job_needs_stays(api: TestClient, context: Context, status: str, role: str) -> None:
    made = upload(api).json()["id"]
    add_job(context, made, status=status, role=role)
    response = api.delete(f"/v1/files/{made}")
    assert error_of(response, 409)["code"] == "in_use"
    assert response.headers["x-should-retry"] == "false"
    assert api.get(f"/v1/files/{made}/content").content == b"x\n"


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_file_of_an_ended_job_can_go(api: TestClient, context: Context, status: str) -> None:
    made = upload(api).json()["id"]
    add_job(context, made, status=status, role="training_file")
    assert api.delete(f"/v1/files/{made}").status_code == 200


def test_a_file_expires(api: TestClient, clock: Any) -> None:
    made = upload(api, **{"expires_after[anchor]": "created_at", SECONDS_KEY: "3600"}).json()
    assert made["expires_at"] == made["created_at"] + 3600
    clock.time += 3599
    assert api.get(f"/v1/files/{made['id']}").status_code == 200
    clock.time += 1
    error_of(api.get(f"/v1/files/{made['id']}"), 404)
    assert api.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize("seconds", ["3599", "2592001", "-1", "soon", "1e4", "٣٦٠٠", "9" * 100])
def test_an_expiry_out_of_range_is_named(api: TestClient, seconds: str) -> None:
    assert error_of(upload(api, **{SECONDS_KEY: seconds}), 400)["param"] == "expires_after.seconds"


def test_an_expiry_has_one_anchor(api: TestClient) -> None:
    error = error_of(upload(api, **{"expires_after[anchor]": "last_active_at"}), 400)
    assert error["param"] == "expires_after.anchor"


def test_a_full_store_says_so(api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(type(context.store), "put", full)
    response = upload(api)
    assert error_of(response, 507)["code"] == "storage_full"
    assert response.headers["x-should-retry"] == "false"
    assert api.get("/v1/files").json()["data"] == []


def test_a_store_that_is_away_may_be_tried_again(
    api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("timed out")

    monkeypatch.setattr(type(context.store), "put", away)
    response = upload(api)
    assert error_of(response, 503)["code"] == "store_unavailable"
    assert "retry-after" in response.headers


def test_content_that_vanished_is_not_found(api: TestClient, context: Context) -> None:
    made = upload(api).json()["id"]
    context.store.delete(f"files/{made}")
    assert error_of(api.get(f"/v1/files/{made}/content"), 404)["code"] == "content_missing"


def test_a_row_that_cannot_be_written_leaves_no_object(
    api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("service.files.repository.FileRepository.add", broken)
    error = error_of(upload(api), 500)
    assert "secret" not in error["message"]
    assert "incident-" in error["message"]
    assert stored_keys(context) == []
    with context.database.reading() as session:
        assert session.query(FileRow).count() == 0
