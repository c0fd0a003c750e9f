"""Two requests at the same moment: exactly one wins, whichever it is."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.testclient import TestClient

from service.context import Context

AT_ONCE = 8


def all_at_once(call: Callable[[int], Any]) -> list[int]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sorted(response.status_code for response in pool.map(call, range(AT_ONCE)))


def test_an_id_is_given_once(api: TestClient) -> None:
    source = {"type": "hub", "repo": "a/b", "revision": "a" * 40}
    codes = all_at_once(lambda _: api.post("/v1/base_models", json={"id": "one", "source": source}))
    assert codes == [200] + [409] * (AT_ONCE - 1)


def test_an_upload_becomes_one_file(api: TestClient, context: Context) -> None:
    body = {"filename": "d", "purpose": "fine-tune", "bytes": 5, "mime_type": "text/plain"}
    upload = api.post("/v1/uploads", json=body).json()["id"]
    part = api.post(f"/v1/uploads/{upload}/parts", files={"data": ("upload", b"hello")}).json()["id"]
    codes = all_at_once(lambda _: api.post(f"/v1/uploads/{upload}/complete", json={"part_ids": [part]}))
    # A late one sees the upload completed and answers alike; one in between conflicts.
    assert set(codes) <= {200, 409}
    assert 200 in codes
    files = api.get("/v1/files").json()["data"]
    assert len(files) == 1
    assert [found.key for found in context.store.list("")] == [f"files/{files[0]['id']}"]


def test_a_file_is_deleted_once(api: TestClient) -> None:
    fields = {"purpose": "fine-tune"}
    made = api.post("/v1/files", data=fields, files={"file": ("a", b"x")}).json()["id"]
    assert all_at_once(lambda _: api.delete(f"/v1/files/{made}")) == [200] + [404] * (AT_ONCE - 1)
