"""From URIs to stores."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.store.brokered import BrokeredStore
from deploy.store.directory import DirStore
from deploy.store.opening import InvalidUri
from deploy.store.opening import locate
from deploy.store.opening import object_uri
from deploy.store.opening import open_directly
from deploy.store.opening import open_store
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import StoreError
from deploy.store.s3 import S3Store


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory(tmp_path: Path, slash: str) -> None:
    store = open_store(tmp_path.as_uri() + slash)
    assert isinstance(store, DirStore)
    assert store.uri == tmp_path.as_uri()


def test_an_odd_path_survives_the_round_trip(tmp_path: Path) -> None:
    root = tmp_path / "a b%20#?é"
    DirStore(root).put("k", b"1")
    store = open_store(DirStore(root).uri)
    assert store.uri == DirStore(root).uri
    assert store.get("k") == b"1"
    (root / "odd name%#").write_bytes(b"2")
    above, key = locate(object_uri(store, "odd name%#"))
    assert (key, above.get(key)) == ("odd name%#", b"2")


def test_the_root_of_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"1")
    store = open_store("file:///")
    assert store.get(str(tmp_path / "k")[1:]) == b"1"
    assert object_uri(store, "tmp/x") == "file:///tmp/x"


@pytest.mark.parametrize(
    ("uri", "normal"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://my.bucket-1/a b/c?d#e/", "s3://my.bucket-1/a b/c?d#e"),
    ],
)
def test_s3(uri: str, normal: str) -> None:
    store = open_store(uri)
    assert isinstance(store, S3Store)
    assert store.uri == normal


def test_locate() -> None:
    store, key = locate("s3://bucket/jobs/1/spec.json")
    assert (store.uri, key) == ("s3://bucket/jobs/1", "spec.json")
    store, key = locate("s3://bucket/top%20level")  # S3 URIs are not percent-encoded
    assert (store.uri, key) == ("s3://bucket", "top%20level")
    store, key = locate("file:///data/spec.json")
    assert (store.uri, key) == ("file:///data", "spec.json")


@pytest.mark.parametrize(
    "uri",
    [
        *("", "/abs/path", "relative", "http://host/x", "https://host/x", "gs://b/p", "S3://b/p", "file:/x"),
        *("file://host/x", "file://relative", "file://", "file:///x?y", "file:///x#y", "file:///a%00b"),
        *("s3://", "s3:///x", "s3://B/x", "s3://a/x", "s3://-ab/x", "s3://user@bucket/x", "s3://b:80/x"),
        *("s3://bucket//x", "s3://bucket/a/../b", "s3://bucket/a\nb"),
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidUri, match=r"file:///absolute/path|s3|key|bucket|%3F"):
        open_store(uri)
    with pytest.raises(StoreError):
        locate(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "file:///", "file:///d/", "s3://bucket/d/"])
def test_what_names_no_object_cannot_be_located(uri: str) -> None:
    with pytest.raises(InvalidUri, match="names no object"):
        locate(uri)


@pytest.mark.parametrize("uri", ["file:///d/..", "file:///d/%2e%2e", "file:///d/a%2fb%2f", "file:///d/a%00"])
def test_a_located_key_is_a_key(uri: str) -> None:
    with pytest.raises(InvalidKey):
        locate(uri)


def test_a_directory_needs_no_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from deploy.store.opening import open_store;"
        f"open_store({tmp_path.as_uri()!r}); print('boto3' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout == "False\n"


@pytest.mark.parametrize(
    ("uri", "known_as"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("file:///a/b/", "file:///a/b"),
        ("file://localhost/a%20b", "file:///a%20b"),
    ],
)
def test_where_there_is_a_broker_every_store_is_reached_through_it(
    monkeypatch: pytest.MonkeyPatch, uri: str, known_as: str
) -> None:
    monkeypatch.setenv("TEMPER_BROKER_URL", "http://broker:8002/")
    store = open_store(uri)
    assert isinstance(store, BrokeredStore)
    assert store.uri == known_as
    above, key = locate(uri.rstrip("/") + "/k")
    assert isinstance(above, BrokeredStore)
    assert key == "k"
    assert not isinstance(open_directly(uri), BrokeredStore)


@pytest.mark.parametrize("uri", ["s3://B/x", "http://x/y", "relative", "s3://bucket/../x", "file://host/x"])
def test_a_broker_is_not_asked_for_what_is_no_store(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("TEMPER_BROKER_URL", "http://broker:8002")
    with pytest.raises(InvalidUri):
        open_store(uri)


def test_reaching_a_broker_needs_neither_boto3_nor_a_server_framework() -> None:
    code = (
        "import os, sys; os.environ['TEMPER_BROKER_URL'] = 'http://broker'\n"
        "from deploy.store.opening import open_store; open_store('s3://bucket/x')\n"
        "print(*{'boto3', 'botocore', 'fastapi', 'starlette', 'aiohttp', 'kubernetes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
