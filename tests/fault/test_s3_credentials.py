"""Credentials that end in the middle: those of a workload identity are fetched again, nothing is half written."""

import threading
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3 import S3Store
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import S3Settings

PART_BYTES = 5 << 20
ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA{number:012d}</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>session-{number}</SessionToken>
<Expiration>{expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class TokenService:
    """STS as far as a workload identity needs it: one session a request, numbered from 1."""

    def __init__(self) -> None:
        self.lifetime = timedelta(hours=1)
        self.available = True
        self.tokens: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, body = service.answer(form["WebIdentityToken"][0])
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self, token: str) -> tuple[int, bytes]:
        if not self.available:
            return 503, b"<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"
        self.tokens.append(token)
        expiration = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 200, ANSWER.format(number=len(self.tokens), expiration=expiration).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    service = TokenService()
    yield service
    service.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("projected-1")
    return path


@pytest.fixture
def store(
    s3_server: Any, s3_proxy: Any, tokens: TokenService, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Store]:
    """A store whose credentials are those of a workload identity, as EKS gives them to a pod."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/temper",
        "AWS_ENDPOINT_URL_STS": tokens.url,
        "AWS_SHARED_CREDENTIALS_FILE": str(token_file.parent / "none"),
        "AWS_CONFIG_FILE": str(token_file.parent / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    s3_client.cache_clear()
    settings = S3Settings(
        endpoint_url=s3_proxy.endpoint_url, max_attempts=2, read_timeout_s=20.0, part_size_bytes=PART_BYTES
    )
    yield S3Store(s3_server.bucket, "p", settings)
    s3_client.cache_clear()


def _signed_by(request: Any) -> str:
    return str(request.headers.partition("Credential=")[2][:16])


def test_a_workload_identity_signs_the_requests(store: S3Store, tokens: TokenService, s3_proxy: Any) -> None:
    store.put("k", b"data")
    store.get("k")
    assert tokens.tokens == ["projected-1"]
    assert {_signed_by(request) for request in s3_proxy.requests} == {"ASIA000000000001"}
    assert all("x-amz-security-token: session-1" in request.headers.lower() for request in s3_proxy.requests)


def test_credentials_are_fetched_again_before_they_end(
    store: S3Store, tokens: TokenService, token_file: Path, s3_proxy: Any
) -> None:
    """The token, which the kubelet renews, is read again too."""
    tokens.lifetime = timedelta(minutes=5)  # within botocore's ten minutes
    store.put("k", b"data")
    token_file.write_text("projected-2")
    tokens.lifetime = timedelta(hours=1)
    assert store.get("k") == b"data"
    assert tokens.tokens[-1] == "projected-2"
    assert _signed_by(s3_proxy.requests[-1]) > _signed_by(s3_proxy.requests[0])


def test_f6_a_long_upload_outlives_its_first_credentials(
    store: S3Store, tokens: TokenService, s3_proxy: Any
) -> None:
    tokens.lifetime = timedelta(minutes=5)
    data = bytes(3 * PART_BYTES)
    store.put("k", data)
    assert b"".join(store.read("k")) == data
    assert len({_signed_by(request) for request in s3_proxy.requests if request.method == "PUT"}) > 1


def test_f6_credentials_that_the_server_calls_expired_in_the_middle_leave_nothing(
    store: S3Store, tokens: TokenService, s3_proxy: Any, fault: Any
) -> None:
    """As when a role's sessions were revoked: what the call could not finish, the next one can."""
    body = b"<Error><Code>ExpiredToken</Code><Message>made up</Message></Error>"
    expired = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        len(body),
        body,
    )
    s3_proxy.rule = lambda request: fault(answer=expired) if "partNumber=2" in request.target else None
    with pytest.raises(StoreUnavailable, match="ExpiredToken"):
        store.put("k", bytes(3 * PART_BYTES))
    s3_proxy.rule = lambda request: None
    assert store.info("k") is None
    uploads = store._client.list_multipart_uploads(Bucket=store._bucket)
    assert uploads.get("Uploads", []) == []
    store.put("k", bytes(3 * PART_BYTES))
    assert store.info("k") is not None


def test_a_token_service_that_is_down_may_come_back(store: S3Store, tokens: TokenService) -> None:
    tokens.available = False
    with pytest.raises(StoreUnavailable):
        store.put("k", b"data")
    tokens.available = True
    store.put("k", b"data")
    assert store.get("k") == b"data"


def test_a_role_that_may_not_be_assumed_is_no_outage(
    store: S3Store, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = (
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>made up</Message></Error></ErrorResponse>"
    )
    monkeypatch.setattr(tokens, "answer", lambda token: (403, denied))
    with pytest.raises(StoreRefused) as caught:
        store.put("k", b"data")
    assert caught.value.code == "credentials_wrong"


def test_a_token_file_that_is_not_there_is_named(store: S3Store, token_file: Path) -> None:
    token_file.unlink()
    with pytest.raises(StoreRefused, match=str(token_file)) as caught:
        store.get("k")
    assert caught.value.code == "credentials_missing"


def test_a_presigned_url_carries_the_session(store: S3Store) -> None:
    assert "X-Amz-Security-Token=session-1" in store.presigned_get("k", expires_s=60)
