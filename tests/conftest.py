"""Fixtures that more than one package's tests need."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import pytest
from moto.server import ThreadedMotoServer


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A real S3 protocol server on loopback, and a bucket of it that nobody else uses."""

    endpoint_url: str
    bucket: str


@pytest.fixture(scope="session")
def s3_endpoint_url() -> Iterator[str]:
    """One server for the whole run; tests keep apart by bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Endpoint and fresh bucket; the AWS environment of this process and its children points there."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    bucket = f"temper-{secrets.token_hex(8)}"
    boto3.session.Session().client("s3").create_bucket(Bucket=bucket)
    return S3Server(endpoint_url=s3_endpoint_url, bucket=bucket)
