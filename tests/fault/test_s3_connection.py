"""A network between the store and S3 that cuts, loses, delays and invents."""

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3 import S3Store
from deploy.store.s3_settings import S3Settings

PART_BYTES = 5 << 20


def _store(server: Any, endpoint_url: str, **settings: Any) -> S3Store:
    settings = {"max_attempts": 2, "read_timeout_s": 20.0, "part_size_bytes": PART_BYTES, **settings}
    return S3Store(server.bucket, "p", S3Settings(endpoint_url=endpoint_url, **settings))


@pytest.fixture
def direct(s3_server: Any) -> S3Store:
    return _store(s3_server, s3_server.endpoint_url)


@pytest.fixture
def store(s3_server: Any, s3_proxy: Any) -> S3Store:
    return _store(s3_server, s3_proxy.endpoint_url)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is random between nothing and a bound; here it is nothing."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    monkeypatch.setattr(random, "random", lambda: 0.0)


def _answer(status: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


def _unfinished(store: S3Store) -> int:
    uploads = store._client.list_multipart_uploads(Bucket=store._bucket)
    return len(uploads.get("Uploads", ()))


# --- writes that are cut ----------------------------------------------------------------------------


@pytest.mark.parametrize("tenth", range(10))
def test_f1_a_put_that_is_cut_is_not_there(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, tenth: int
) -> None:
    direct.put("old", b"before")
    s3_proxy.rule = lambda request: fault(cut_request_after=tenth * 100_000)
    for key in ("old", "new"):
        with pytest.raises(StoreUnavailable):
            store.put(key, bytes(1_000_000))
    assert len(s3_proxy.requests) == 4  # each was tried twice
    assert direct.get("old") == b"before"
    assert [info.key for info in direct.list("")] == ["old"]


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize("way", ["put", "put_file"])
def test_f1_a_multipart_that_is_cut_leaves_nothing(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, tmp_path: Path, way: str, part: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * PART_BYTES + 100_000))
    s3_proxy.rule = lambda request: (
        fault(cut_request_after=50_000) if f"partNumber={part}" in request.target else None
    )
    with pytest.raises(StoreUnavailable):
        store.put_file("k", source) if way == "put_file" else store.put("k", source.read_bytes())
    assert direct.info("k") is None
    assert _unfinished(direct) == 0


def test_a_cut_that_heals_goes_unnoticed(store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any) -> None:
    s3_proxy.rule = lambda request: fault(cut_request_after=1000) if request.number in {1, 3} else None
    data = bytes(2 * PART_BYTES + 1)
    stored = store.put("k", data)
    assert b"".join(direct.read("k")) == data
    assert stored.size_bytes == len(data)


def test_f3_a_completion_whose_answer_is_lost_counts(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    def rule(request: Any) -> Any:
        completes = request.method == "POST" and "uploadId=" in request.target
        return fault(cut_answer_after=0) if completes else None

    s3_proxy.rule = rule
    stored = store.put("k", bytes(PART_BYTES + 5))
    assert direct.info("k").size_bytes == stored.size_bytes == PART_BYTES + 5  # type: ignore[union-attr]
    assert _unfinished(direct) == 0


def test_anothers_object_is_not_taken_for_ours(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    direct.put("k", bytes(PART_BYTES + 5))  # of the same size, from another upload

    def rule(request: Any) -> Any:
        completes = request.method == "POST" and "uploadId=" in request.target
        return fault(answer=_answer("404 Not Found", "NoSuchUpload")) if completes else None

    s3_proxy.rule = rule
    with pytest.raises(StoreError, match="NoSuchUpload"):
        store.put("k", b"1" * (PART_BYTES + 5))
    assert set(b"".join(direct.read("k"))) == {0}


# --- conditional writes -----------------------------------------------------------------------------


def test_f3_put_once_survives_a_lost_answer(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    s3_proxy.rule = lambda request: fault(cut_answer_after=0) if request.number == 1 else None
    assert store.put_once("result.json", b"mine")
    assert [request.method for request in s3_proxy.requests] == ["PUT", "PUT", "GET"]
    assert direct.get("result.json") == b"mine"


def test_f3_put_once_loses_to_another_behind_a_lost_answer(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    direct.put_once("result.json", b"theirs")
    s3_proxy.rule = lambda request: fault(cut_answer_after=0) if request.number == 1 else None
    assert not store.put_once("result.json", b"mine")
    assert direct.get("result.json") == b"theirs"


def test_put_once_whose_answers_are_all_lost_can_be_repeated(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    s3_proxy.rule = lambda request: fault(cut_answer_after=0)
    with pytest.raises(StoreUnavailable):
        store.put_once("result.json", b"mine")
    assert direct.put_once("result.json", b"mine")


def test_f5_put_once_retries_a_conflict(store: S3Store, s3_proxy: Any, fault: Any) -> None:
    conflict = _answer("409 Conflict", "ConditionalRequestConflict")
    s3_proxy.rule = lambda request: fault(answer=conflict) if request.number <= 3 else None
    assert store.put_once("result.json", b"mine")
    assert len(s3_proxy.requests) == 4


def test_f5_put_once_gives_up_on_endless_conflicts(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    s3_proxy.rule = lambda request: fault(answer=_answer("409 Conflict", "ConditionalRequestConflict"))
    with pytest.raises(StoreUnavailable, match="conditional"):
        store.put_once("result.json", b"mine")
    assert len(s3_proxy.requests) == 10
    assert direct.info("result.json") is None


def test_put_once_of_an_object_that_vanishes_is_tried_again(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    direct.put("result.json", b"theirs")

    def rule(request: Any) -> None:
        if request.method == "GET":
            direct.delete("result.json")

    s3_proxy.rule = rule
    assert store.put_once("result.json", b"mine")
    assert direct.get("result.json") == b"mine"


# --- reads that are cut -----------------------------------------------------------------------------


def test_a_download_goes_on_where_it_was_cut(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, tmp_path: Path
) -> None:
    data = random.Random(7).randbytes(3_000_000)
    stored = direct.put("k", data)
    s3_proxy.rule = lambda request: fault(cut_answer_after=1_500_000) if request.number == 1 else None
    store.fetch_file("k", tmp_path / "k", stored)
    assert (tmp_path / "k").read_bytes() == data
    assert len(s3_proxy.requests) == 2
    assert "\r\nrange: bytes=" in s3_proxy.requests[1].headers.lower()
    assert "\r\nif-match: " in s3_proxy.requests[1].headers.lower()


def test_a_download_that_is_always_cut_leaves_nothing(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, tmp_path: Path
) -> None:
    stored = direct.put("k", bytes(3_000_000))
    s3_proxy.rule = lambda request: fault(cut_answer_after=100_000)
    with pytest.raises(StoreUnavailable):
        store.fetch_file("k", tmp_path / "out" / "k", stored)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_download_never_mixes_two_objects(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    direct.put("k", b"1" * 3_000_000)
    s3_proxy.rule = lambda request: fault(cut_answer_after=1_500_000) if request.number == 1 else None
    chunks = store.read("k")
    assert set(next(chunks)) == {ord("1")}
    direct.put("k", b"2" * 3_000_000)
    with pytest.raises(StoreUnavailable, match="overwritten"):
        list(chunks)


def test_f2_a_bit_that_flips_once_on_the_way_is_fetched_again(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, tmp_path: Path
) -> None:
    stored = direct.put("k", b"data")
    s3_proxy.rule = lambda request: fault(flip_answer=request.number == 1)
    store.fetch_file("k", tmp_path / "k", stored)
    assert (tmp_path / "k").read_bytes() == b"data"
    s3_proxy.rule = lambda request: fault(flip_answer=True)
    with pytest.raises(ObjectCorrupt):
        store.fetch_file("k", tmp_path / "other", stored)
    assert not (tmp_path / "other").exists()


# --- servers that refuse ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "error", "message"),
    [
        ("503 Slow Down", "SlowDown", StoreUnavailable, "SlowDown"),
        ("500 Internal Server Error", "InternalError", StoreUnavailable, "InternalError"),
        ("502 Bad Gateway", "", StoreUnavailable, "HTTP 502"),
        ("429 Too Many Requests", "", StoreUnavailable, "HTTP 429"),
        ("400 Bad Request", "ExpiredToken", StoreUnavailable, "ExpiredToken"),
        ("507 Insufficient Storage", "InsufficientStorage", StoreFull, "InsufficientStorage"),
        ("403 Forbidden", "AccessDenied", StoreRefused, "do not permit"),
        ("403 Forbidden", "RequestTimeTooSkewed", StoreRefused, "clock"),
        ("404 Not Found", "NoSuchBucket", StoreRefused, "bucket does not exist"),
        ("501 Not Implemented", "NotImplemented", StoreRefused, "lacks a feature"),
    ],
)
def test_f3_what_the_server_says_becomes_the_stores_error(
    store: S3Store, s3_proxy: Any, fault: Any, status: str, code: str, error: type[StoreError], message: str
) -> None:
    s3_proxy.rule = lambda request: fault(answer=_answer(status, code))
    with pytest.raises(error, match=message) as caught:
        store.put("k", b"data")
    assert type(caught.value) is error
    with pytest.raises(error):
        store.get("k")


@pytest.mark.parametrize(
    ("status", "code"), [("403 Forbidden", "AccessDenied"), ("501 Not", "NotImplemented")]
)
def test_a_server_without_delete_objects_is_asked_one_by_one(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any, status: str, code: str
) -> None:
    for key in ("job-1/a", "job-1/b/c", "job-10/a"):
        direct.put(key, b"data")
    s3_proxy.rule = lambda request: (
        fault(answer=_answer(status, code)) if "delete" in request.target else None
    )
    assert store.delete_prefix("job-1/") == 2
    assert [info.key for info in direct.list("")] == ["job-10/a"]


def test_f3_a_refusal_for_now_is_retried(store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any) -> None:
    s3_proxy.rule = lambda request: (
        fault(answer=_answer("503 Slow Down", "SlowDown")) if request.number == 1 else None
    )
    store.put("k", b"data")
    assert direct.get("k") == b"data"


def test_a_bucket_in_another_region_is_found_there(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    """AWS says where it is, and botocore signs anew for that region."""
    region = b"<Region>eu-west-1</Region></Error>"
    body = _answer("", "AuthorizationHeaderMalformed").partition(b"\r\n\r\n")[2]
    body = body.replace(b"</Error>", region)
    answer = b"HTTP/1.1 400 Bad Request\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: %d\r\n\r\n%s"
    elsewhere = fault(answer=answer % (len(body), body))
    s3_proxy.rule = lambda request: elsewhere if "/us-east-1/s3/" in request.headers else None
    store.put("k", b"data")
    assert direct.get("k") == b"data"


Call = Callable[[S3Store], Any]
CALLS: list[Call] = [
    lambda store: store.put("k", b""),
    lambda store: store.put("k", bytes(PART_BYTES + 1)),
    lambda store: store.put_once("k", b""),
    lambda store: store.get("k"),
    lambda store: store.info("k"),
    lambda store: list(store.list("")),
    lambda store: store.delete("k"),
    lambda store: store.delete_prefix("k/"),
    lambda store: store.sweep(),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_bucket_is_no_missing_object(s3_server: Any, call: Call) -> None:
    settings = S3Settings(endpoint_url=s3_server.endpoint_url, max_attempts=1, part_size_bytes=PART_BYTES)
    with pytest.raises(StoreError, match="bucket does not exist") as caught:
        call(S3Store("no-such-bucket", "", settings))
    assert not isinstance(caught.value, ObjectMissing)


@pytest.mark.parametrize("call", CALLS)
def test_nobody_listens(s3_server: Any, call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = _store(s3_server, f"http://127.0.0.1:{port}", connect_timeout_s=0.5, read_timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call(store)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("call", CALLS)
def test_somebody_listens_and_never_answers(s3_server: Any, call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = _store(s3_server, url, connect_timeout_s=0.3, read_timeout_s=0.3)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call(store)
        assert time.monotonic() - started < 10


def test_credentials_that_are_not_there(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = _store(s3_server, s3_server.endpoint_url, region="eu-west-1")  # not the client of other tests
    with pytest.raises(StoreError, match="credentials"):
        store.get("k")


@pytest.mark.parametrize("url", ["not a url", "http://"])
def test_an_endpoint_that_is_no_url(url: str) -> None:
    with pytest.raises(StoreError):
        S3Store("bucket", "", S3Settings(endpoint_url=url)).get("k")


def test_f1_the_sweep_aborts_what_a_killed_writer_left(direct: S3Store) -> None:
    for key in ("p/k", "elsewhere/k"):  # the server of the tests dates every upload to 2010
        direct._client.create_multipart_upload(Bucket=direct._bucket, Key=key)
    assert direct.sweep(older_than_s=1e9) == 0
    assert direct.sweep() == 1
    assert _unfinished(direct) == 1  # another prefix is another's business
