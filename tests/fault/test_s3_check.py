"""What the check at the start finds wrong with a bucket, and how it says so."""

from collections.abc import Callable
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.store.checking import Checked
from deploy.store.checking import check_store
from deploy.store.directory import DirStore
from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3 import S3Store
from deploy.store.s3_settings import S3Settings

Rule = Callable[[Any], Any]


def _store(server: Any, endpoint_url: str, **settings: Any) -> S3Store:
    return S3Store(
        server.bucket, "some/prefix", S3Settings(endpoint_url=endpoint_url, max_attempts=1, **settings)
    )


def _answer(status: str, code: str, *, headers: str = "", more: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>made up</Message>{more}</Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def _objects(store: S3Store) -> list[str]:
    return [info.key for info in store.list("")]


@pytest.fixture
def store(s3_server: Any, s3_proxy: Any) -> S3Store:
    return _store(s3_server, s3_proxy.endpoint_url)


@pytest.fixture
def direct(s3_server: Any) -> S3Store:
    return _store(s3_server, s3_server.endpoint_url)


def _refused(store: S3Store) -> StoreRefused:
    with pytest.raises(StoreRefused) as caught:
        check_store(store)
    return caught.value


def test_a_good_bucket_passes_once(store: S3Store, direct: S3Store, s3_proxy: Any) -> None:
    check_store(store)
    asked = len(s3_proxy.requests)
    check_store(store)
    assert len(s3_proxy.requests) == asked
    assert _objects(direct) == []
    assert direct._client.list_multipart_uploads(Bucket=direct._bucket).get("Uploads", ()) == ()


def test_plain_http_to_another_machine_is_warned_of(
    direct: S3Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    check_store(direct)
    assert "plain HTTP" not in caplog.text
    monkeypatch.setattr(S3Settings, "in_the_clear", True)
    direct._checked = False
    with caplog.at_level("WARNING", "deploy.store.s3_check"):
        check_store(direct)
    assert [message for message in caplog.messages if "plain HTTP" in message]


def test_a_directory_needs_no_check(tmp_path: Path) -> None:
    assert not isinstance(DirStore(tmp_path), Checked)
    check_store(DirStore(tmp_path))


def test_a_server_that_overwrites_is_refused(direct: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know If-None-Match takes the request for an ordinary one."""
    put = direct._client.put_object
    monkeypatch.setattr(direct._client, "put_object", lambda **named: put(**_without(named, "IfNoneMatch")))
    error = _refused(direct)
    assert error.code == "overwrites"
    assert "If-None-Match" in str(error)
    assert _objects(direct) == []


def _without(named: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in named.items() if key != name}


@pytest.mark.parametrize(
    ("status", "code", "word", "message"),
    [
        ("404 Not Found", "NoSuchBucket", "bucket_missing", "the bucket does not exist"),
        ("403 Forbidden", "RequestTimeTooSkewed", "clock_skewed", "clock"),
        ("403 Forbidden", "InvalidAccessKeyId", "credentials_wrong", "does not know the access key"),
        ("403 Forbidden", "SignatureDoesNotMatch", "credentials_wrong", "secret key"),
        ("501 Not Implemented", "NotImplemented", "feature_missing", "lacks a feature"),
        ("400 Bad Request", "KMS.NotFoundException", "encryption", "TEMPER_S3_KMS_KEY_ID"),
        ("400 Bad Request", "InvalidStorageClass", "feature_missing", "TEMPER_S3_STORAGE_CLASS"),
    ],
)
def test_a_refusal_has_a_code_and_names_what_to_change(
    store: S3Store, s3_proxy: Any, fault: Any, status: str, code: str, word: str, message: str
) -> None:
    s3_proxy.rule = lambda request: fault(answer=_answer(status, code))
    error = _refused(store)
    assert error.code == word
    assert message in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        _answer("400 Bad Request", "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"),
        _answer("301 Moved Permanently", "PermanentRedirect", headers="x-amz-bucket-region: eu-west-1\r\n"),
    ],
    ids=["malformed", "redirect"],
)
def test_a_wrong_region_names_the_right_one(store: S3Store, s3_proxy: Any, fault: Any, answer: bytes) -> None:
    # botocore follows a redirect to where AWS says; what it then gets is the same answer again.
    s3_proxy.rule = lambda request: fault(answer=answer)
    error = _refused(store)
    assert error.code == "region_wrong"
    assert "AWS_REGION must be eu-west-1" in str(error)


@pytest.mark.parametrize(
    ("lacking", "action", "resource"),
    [
        (lambda r: "list-type=2" in r.target, "s3:ListBucket", "arn:aws:s3:::{bucket}"),
        (lambda r: r.method == "PUT", "s3:PutObject", "arn:aws:s3:::{bucket}/some/prefix/*"),
        (
            lambda r: r.method == "GET" and "list-type" not in r.target,
            "s3:GetObject",
            "{bucket}/some/prefix/*",
        ),
        (lambda r: "uploads" in r.target, "s3:PutObject", "{bucket}/some/prefix/*"),
        (lambda r: r.method == "DELETE" and "uploadId" in r.target, "s3:AbortMultipartUpload", "prefix/*"),
        (lambda r: r.method == "DELETE" and "uploadId" not in r.target, "s3:DeleteObject", "prefix/*"),
    ],
    ids=["list", "put", "get", "begin", "abort", "delete"],
)
def test_a_missing_permission_is_named(
    store: S3Store, s3_server: Any, s3_proxy: Any, fault: Any, lacking: Rule, action: str, resource: str
) -> None:
    s3_proxy.rule = lambda r: fault(answer=_answer("403 Forbidden", "AccessDenied")) if lacking(r) else None
    error = _refused(store)
    assert error.code == "not_permitted"
    assert str(error).endswith(resource.format(bucket=s3_server.bucket))
    assert f"it needs {action} on " in str(error)


def test_a_probe_that_fails_half_way_is_removed(
    store: S3Store, direct: S3Store, s3_proxy: Any, fault: Any
) -> None:
    refusal = fault(answer=_answer("403 Forbidden", "AccessDenied"))
    s3_proxy.rule = lambda r: refusal if r.method == "GET" and "list-type" not in r.target else None
    _refused(store)
    assert _objects(direct) == []


def test_a_clock_that_is_wrong_is_found_even_where_the_answer_has_no_body(
    store: S3Store, s3_proxy: Any, fault: Any
) -> None:
    """The answer to a HEAD has none, and readiness asks with a HEAD."""
    server = format_datetime(datetime.now(UTC) - timedelta(minutes=20), usegmt=True)
    bare = f"HTTP/1.1 403 Forbidden\r\nDate: {server}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    s3_proxy.rule = lambda request: fault(answer=bare.encode())
    with pytest.raises(
        StoreRefused, match=r"clock and the server's differ too much: \+1[12]\d\d s"
    ) as caught:
        store.info("k")
    assert caught.value.code == "clock_skewed"


def test_encryption_that_the_server_silently_leaves_out_is_refused(s3_server: Any) -> None:
    store = _store(s3_server, s3_server.endpoint_url, sse="AES256")
    check_store(store)  # this server says that it encrypts
    other = _store(s3_server, s3_server.endpoint_url)
    get = other._client.get_object
    try:
        store._client.get_object = lambda **named: _without(get(**named), "ServerSideEncryption")
        store._checked = False
        error = _refused(store)
    finally:
        del store._client.get_object
    assert error.code == "encryption"
    assert "TEMPER_S3_SSE is AES256, but the server stored in the clear" in str(error)


def test_ranges_that_the_server_ignores_are_refused(store: S3Store, s3_proxy: Any, fault: Any) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nETag: x\r\nConnection: close\r\n\r\nthe first of two"
    s3_proxy.rule = lambda r: (
        fault(answer=whole) if r.method == "GET" and "list-type" not in r.target else None
    )
    assert "does not answer ranges" in str(_refused(store))


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error"])
def test_a_server_that_is_down_is_no_refusal(store: S3Store, s3_proxy: Any, fault: Any, status: str) -> None:
    s3_proxy.rule = lambda request: fault(answer=_answer(status, "SlowDown"))
    with pytest.raises(StoreUnavailable):
        check_store(store)
    s3_proxy.rule = lambda request: None
    check_store(store)
