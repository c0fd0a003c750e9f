"""What whoever has no credentials may do with the URLs that a store hands out."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.store.direct import DirectTransfer
from deploy.store.directory import DirStore
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import StoreError
from deploy.store.s3 import S3Store
from deploy.store.s3_settings import S3Settings

PART_BYTES = 5 << 20


REAL = pytest.param("ceph_bucket", marks=[pytest.mark.s3, pytest.mark.slow])


@pytest.fixture(params=["s3_server", REAL])
def store(request: pytest.FixtureRequest) -> S3Store:
    server = request.getfixturevalue(request.param)
    settings = S3Settings(endpoint_url=server.endpoint_url, max_attempts=1)
    return S3Store(server.bucket, "some/prefix", settings)


def _put(url: str, data: bytes) -> str:
    answer = httpx.put(url, content=data, trust_env=False, timeout=60.0)
    answer.raise_for_status()
    return answer.headers["etag"]


def _unfinished(store: S3Store) -> int:
    return len(store._client.list_multipart_uploads(Bucket=store._bucket).get("Uploads", ()))


def test_only_s3_transfers_directly(store: S3Store, tmp_path: Path) -> None:
    assert isinstance(store, DirectTransfer)
    assert not isinstance(DirStore(tmp_path), DirectTransfer)


def test_a_presigned_get_needs_no_credentials(store: S3Store) -> None:
    store.put("a/key", b"0123456789")
    url = store.presigned_get("a/key", expires_s=60)
    assert httpx.get(url, trust_env=False).content == b"0123456789"
    ranged = httpx.get(url, headers={"Range": "bytes=3-5"}, trust_env=False)
    assert (ranged.status_code, ranged.content) == (206, b"345")


def test_a_presigned_get_says_when_it_ends_and_how_it_is_signed(store: S3Store) -> None:
    query = parse_qs(urlsplit(store.presigned_get("k", expires_s=17)).query)
    assert query["X-Amz-Expires"] == ["17"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-SignedHeaders"] == ["host"]


def test_a_presigned_get_of_a_missing_object_is_a_404(store: S3Store) -> None:
    assert httpx.get(store.presigned_get("none", expires_s=60), trust_env=False).status_code == 404


@pytest.mark.parametrize("expires_s", [0, -1, 901, 86_400])
def test_f10_urls_live_for_a_quarter_of_an_hour_at_most(store: S3Store, expires_s: int) -> None:
    with pytest.raises(ValueError, match="expires_s"):
        store.presigned_get("k", expires_s=expires_s)
    with pytest.raises(ValueError, match="expires_s"):
        store.presigned_parts("k", "id", [1], expires_s=expires_s)


def test_an_upload_in_parts(store: S3Store) -> None:
    parts = {2: b"2" * PART_BYTES, 1: b"1" * PART_BYTES, 3: b"3"}
    upload_id = store.begin_upload("w/model.bin")
    urls = store.presigned_parts("w/model.bin", upload_id, parts, expires_s=60)
    etags = {number: _put(urls[number], data) for number, data in parts.items()}
    assert store.info("w/model.bin") is None
    store.complete_upload("w/model.bin", upload_id, etags)
    assert b"".join(store.read("w/model.bin")) == parts[1] + parts[2] + parts[3]
    assert _unfinished(store) == 0


def test_an_upload_can_be_completed_twice(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    etags = {1: _put(store.presigned_parts("k", upload_id, [1], expires_s=60)[1], b"data")}
    store.complete_upload("k", upload_id, etags)
    store.complete_upload("k", upload_id, etags)
    assert store.get("k") == b"data"


def test_anothers_object_does_not_complete_an_upload(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    etags = {1: _put(store.presigned_parts("k", upload_id, [1], expires_s=60)[1], b"data")}
    store.abort_upload("k", upload_id)
    store.put("k", b"other")
    with pytest.raises(StoreError):
        store.complete_upload("k", upload_id, etags)
    assert store.get("k") == b"other"


def test_a_part_that_never_came_cannot_be_completed(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    with pytest.raises(StoreError, match="InvalidPart"):
        store.complete_upload("k", upload_id, {1: hashlib.md5(b"never").hexdigest()})  # noqa: S324
    assert store.info("k") is None


def test_an_aborted_upload_takes_no_more_parts(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    url = store.presigned_parts("k", upload_id, [1], expires_s=60)[1]
    store.abort_upload("k", upload_id)
    store.abort_upload("k", upload_id)
    assert httpx.put(url, content=b"late", trust_env=False).is_error
    assert _unfinished(store) == 0


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_are_1_to_10000(store: S3Store, number: int) -> None:
    with pytest.raises(ValueError, match="part number"):
        store.presigned_parts("k", "id", [number], expires_s=60)
    with pytest.raises(ValueError, match="part number"):
        store.complete_upload("k", "id", {number: "etag"})


def test_an_upload_of_no_parts_is_a_mistake(store: S3Store) -> None:
    with pytest.raises(ValueError, match="no parts"):
        store.complete_upload("k", "id", {})


def test_a_length_is_part_of_the_signature(store: S3Store) -> None:
    urls = store.presigned_parts("k", "id", [1, 2], expires_s=60, lengths={1: 5})
    signed = {number: parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"] for number, url in urls.items()}
    assert signed == {1: ["content-length;host"], 2: ["host"]}


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.presigned_get("../k", expires_s=60),
        lambda store: store.begin_upload("a b"),
        lambda store: store.presigned_parts("/k", "id", [1], expires_s=60),
        lambda store: store.complete_upload("", "id", {1: "e"}),
        lambda store: store.abort_upload("a//b", "id"),
    ],
)
def test_bad_keys(store: S3Store, call: Callable[[S3Store], Any]) -> None:
    with pytest.raises(InvalidKey):
        call(store)


# --- what only a server that checks signatures refuses ------------------------------------------------

real = pytest.mark.parametrize("store", [REAL], indirect=True)


def _refusal(method: str, url: str, **body: Any) -> int:
    return httpx.request(method, url, trust_env=False, **body).status_code


@real
def test_f10_an_expired_url_is_refused(store: S3Store) -> None:
    store.put("k", b"data")
    url = store.presigned_get("k", expires_s=3)
    assert _refusal("GET", url) == 200
    time.sleep(4.5)
    assert _refusal("GET", url) == 403


@real
def test_f10_a_url_is_good_for_its_own_request_only(store: S3Store) -> None:
    store.put("k", b"data")
    store.put("other", b"data")
    url = store.presigned_get("k", expires_s=60)
    assert _refusal("GET", url[:-8] + "00000000") == 403
    assert _refusal("GET", url.replace("/k?", "/other?")) == 403
    assert _refusal("GET", url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == 403
    assert _refusal("PUT", url, content=b"mine") == 403
    assert _refusal("DELETE", url) == 403
    assert store.get("k") == b"data"


@real
def test_f10_a_part_of_another_length_or_number_is_refused(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    url = store.presigned_parts("k", upload_id, [1], expires_s=60, lengths={1: 5})[1]
    assert _refusal("PUT", url, content=b"123456") == 403
    assert _refusal("PUT", url, content=b"1234") == 403
    assert _refusal("PUT", url.replace("partNumber=1", "partNumber=2"), content=b"12345") == 403
    assert _refusal("PUT", url, content=b"12345") == 200
    store.abort_upload("k", upload_id)


@real
def test_f10_a_part_that_comes_after_the_completion_changes_nothing(store: S3Store) -> None:
    upload_id = store.begin_upload("k")
    url = store.presigned_parts("k", upload_id, [1], expires_s=60)[1]
    store.complete_upload("k", upload_id, {1: _put(url, b"mine")})
    assert _refusal("PUT", url, content=b"later") == 404
    assert store.get("k") == b"mine"
