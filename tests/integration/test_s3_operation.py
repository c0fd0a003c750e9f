"""What docs/s3.md tells operators to set, on a real S3 server; the documents that can be pasted are those of the page."""

import json
import re
import socket
import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import httpx
import pytest
from ceph_server import KMS_KEY

from deploy.store.protocol import StoreRefused
from deploy.store.s3 import S3Store
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import S3Settings

PAGE = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()
CHECKPOINT = "jobs/ftjob-1/attempts/1/pod/checkpoints/hardened/00000001/model.safetensors"
PATIENCE_S = 90.0
"""A "day" of the server's lifecycle lasts two seconds in the tests, and two weeks half a minute."""

real = [pytest.mark.s3, pytest.mark.slow]


@pytest.fixture(autouse=True)
def no_client_of_other_keys() -> Iterator[None]:
    """Clients are shared by settings, and keys are not among them."""
    s3_client.cache_clear()
    yield
    s3_client.cache_clear()


def _document(name: str, bucket: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1].replace("BUCKET", bucket)


def _store(server: Any, **settings: Any) -> S3Store:
    settings = {"endpoint_url": server.endpoint_url, "max_attempts": 2, **settings}
    return S3Store(server.bucket, "temper", S3Settings(**settings))


def _client(server: Any) -> Any:
    return s3_client(S3Settings(endpoint_url=server.endpoint_url))


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(StoreRefused) as caught:
        call()
    return caught.value.code


# --- rules of the page --------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["s3_server", pytest.param("ceph_bucket", marks=real)])
def test_the_documents_are_accepted(server: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(server)
    client, bucket = _client(server), server.bucket
    rules = json.loads(_document("lifecycle", bucket))
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    answer = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert {rule["ID"] for rule in answer["Rules"]} == {rule["ID"] for rule in rules["Rules"]}
    policy = _document("policy: bucket", bucket)
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy)


@pytest.mark.s3
@pytest.mark.slow
def test_lifecycle_takes_what_the_page_says_and_nothing_else(ceph_bucket: Any) -> None:
    store, client, bucket = _store(ceph_bucket, tags=True), _client(ceph_bucket), ceph_bucket.bucket
    kept = ["files/file-1", "jobs/ftjob-1/attempts/1/pod/models/hardened/m", "jobs/ftjob-1/result.json"]
    for key in [*kept, CHECKPOINT, "probes/left"]:
        store.put(key, b"data")
    client.create_multipart_upload(Bucket=bucket, Key="temper/files/left")
    client.create_multipart_upload(Bucket=bucket, Key="not-ours/left")
    rules = json.loads(_document("lifecycle", bucket))
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        left = [info.key for info in store.list("")]
        uploads = [
            upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        ]
        if (left, uploads) == (kept, ["not-ours/left"]):
            break
        time.sleep(1)
    assert (left, uploads) == (kept, ["not-ours/left"])


def _with_policy(
    server: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch, name: str, uid: str
) -> S3Store:
    """The store as a user sees it who has one policy of the page and nothing else."""
    access_key, secret_key = ceph_server.add_user(uid)
    iam = boto3.session.Session().client("iam", endpoint_url=server.endpoint_url)
    iam.put_user_policy(UserName=uid, PolicyName="temper", PolicyDocument=_document(name, server.bucket))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    s3_client.cache_clear()
    return _store(server)


@pytest.mark.s3
@pytest.mark.slow
def test_f7_the_brokers_policy_is_enough_and_no_more(
    ceph_bucket: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = _store(ceph_bucket)
    service.put("files/file-1", b"rows")
    service.put_once("jobs/ftjob-1/attempts/1/spec.json", b"{}")
    service._client.put_object(Bucket=ceph_bucket.bucket, Key="elsewhere/k", Body=b"not ours")
    broker = _with_policy(ceph_bucket, ceph_server, monkeypatch, "policy: broker", "broker")
    broker.check()
    assert broker.get("files/file-1") == b"rows"
    assert broker.info("files/none") is None
    assert [info.key for info in broker.list("files/")] == ["files/file-1"]
    key = "jobs/ftjob-1/attempts/1/pod/models/hardened/model.safetensors"
    upload_id = broker.begin_upload(key)
    url = broker.presigned_parts(key, upload_id, [1], expires_s=60, lengths={1: 7})[1]
    etag = httpx.put(url, content=b"weights", trust_env=False).raise_for_status().headers["etag"]
    broker.complete_upload(key, upload_id, {1: etag})
    assert httpx.get(broker.presigned_get(key, expires_s=60), trust_env=False).content == b"weights"
    broker.abort_upload(key, broker.begin_upload(key))
    broker.put(CHECKPOINT, b"1")
    assert broker.delete_prefix("jobs/ftjob-1/attempts/1/pod/checkpoints/") == 1
    assert broker.put_once("jobs/ftjob-1/result.json", b"mine")
    assert not broker.put_once("jobs/ftjob-1/result.json", b"another")
    for forbidden in (
        lambda: broker.put("files/file-1", b"changed"),
        lambda: broker.put("base_models/base-1/model.safetensors", b"changed"),
        lambda: broker.delete("files/file-1"),
        lambda: broker.delete("jobs/ftjob-1/result.json"),
        lambda: broker.begin_upload("files/file-2"),
    ):
        assert _refused(forbidden) == "not_permitted"
    assert service.get("files/file-1") == b"rows"
    assert broker.get("jobs/ftjob-1/result.json") == b"mine"
    outside = S3Store(ceph_bucket.bucket, "elsewhere", S3Settings(endpoint_url=ceph_bucket.endpoint_url))
    assert _refused(lambda: outside.get("k")) == "not_permitted"


@pytest.mark.s3
@pytest.mark.slow
def test_the_services_policy_is_enough_and_no_more(
    ceph_bucket: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    admin = _client(ceph_bucket)
    admin.put_object(Bucket=ceph_bucket.bucket, Key="elsewhere/k", Body=b"not ours")
    store = _with_policy(ceph_bucket, ceph_server, monkeypatch, "policy: service", "service")
    store.check()
    (tmp_path / "file").write_bytes(bytes(17 << 20))
    stored = store.put_file("files/file-1", tmp_path / "file")
    store.fetch_file("files/file-1", tmp_path / "copy", stored)
    assert store.put_once("jobs/ftjob-1/attempts/1/spec.json", b"{}")
    store.delete("files/file-1")
    assert store.delete_prefix("jobs/ftjob-1/") == 1
    for call in (store._client.get_object, store._client.delete_object):
        with pytest.raises(store._client.exceptions.ClientError, match="AccessDenied"):
            call(Bucket=ceph_bucket.bucket, Key="elsewhere/k")


# --- settings of the page -----------------------------------------------------------------------------


@pytest.mark.s3
@pytest.mark.slow
def test_f4_of_24_writers_one_wins(ceph_bucket: Any) -> None:
    store = _store(ceph_bucket)
    for round_ in range(5):
        with ThreadPoolExecutor(24) as writers:
            won = list(
                writers.map(lambda n, r=round_: store.put_once(f"jobs/{r}/result.json", b"%d" % n), range(24))
            )
        assert won.count(True) == 1
        assert store.get(f"jobs/{round_}/result.json") == b"%d" % won.index(True)


@pytest.mark.s3
@pytest.mark.slow
def test_a_self_made_certificate_needs_its_file(
    ceph_bucket: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", ceph_server.tls_endpoint_url)
    distrusting = S3Store(ceph_bucket.bucket, "temper")
    assert _refused(distrusting.check) == "certificate"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(ceph_server.ca_bundle))
    trusting = S3Store(ceph_bucket.bucket, "temper")
    trusting.check()
    data = bytes(9 << 20)
    trusting.put("k", data)
    assert b"".join(trusting.read("k")) == data


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_virtual_hosts(
    ceph_bucket: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    _resolve_here(monkeypatch, ".s3.localhost")
    url = ceph_server.tls_endpoint_url if scheme == "https" else ceph_server.endpoint_url
    url = url.replace("127.0.0.1", "s3.localhost")
    store = _store(ceph_bucket, endpoint_url=url, addressing="virtual", ca_bundle=ceph_server.ca_bundle)
    store.check()
    store.put("k", b"data")
    assert store.get("k") == b"data"
    assert store.presigned_get("k", expires_s=60).startswith(f"{scheme}://{ceph_bucket.bucket}.s3.localhost:")
    assert _store(ceph_bucket).get("k") == b"data"


def _resolve_here(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    """Names of a domain are this machine, as they would be in an operator's DNS."""
    resolve = socket.getaddrinfo
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,localhost,{domain}")
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **named: resolve(
            "127.0.0.1" if str(host).endswith(domain) else host, *rest, **named
        ),
    )


@pytest.mark.s3
@pytest.mark.slow
def test_encryption_with_a_key(ceph_bucket: Any, tmp_path: Path) -> None:
    store = _store(ceph_bucket, sse="aws:kms", kms_key_id=KMS_KEY, part_size_bytes=5 << 20)
    store.check()
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40_000)
    stored = store.put_file("large", tmp_path / "file")
    store.fetch_file("large", tmp_path / "copy", stored)
    assert store.put_once("small", b"1")
    assert not store.put_once("small", b"2")
    upload_id = store.begin_upload("direct")
    url = store.presigned_parts("direct", upload_id, [1], expires_s=60)[1]
    etag = httpx.put(url, content=b"part", trust_env=False).raise_for_status().headers["etag"]
    store.complete_upload("direct", upload_id, {1: etag})
    for key in ("large", "small", "direct"):
        head = store._client.head_object(Bucket=ceph_bucket.bucket, Key=f"temper/{key}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
    assert store.get("direct") == b"part"


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        # This server takes the request for AES256 and stores in the clear.
        ({"sse": "AES256"}, "encryption", "TEMPER_S3_SSE is AES256"),
        ({"sse": "aws:kms", "kms_key_id": "no-such-key"}, "encryption", "TEMPER_S3_KMS_KEY_ID"),
    ],
)
def test_encryption_that_does_not_happen_is_refused(
    ceph_bucket: Any, settings: dict[str, str], code: str, message: str
) -> None:
    store = _store(ceph_bucket, **settings)
    with pytest.raises(StoreRefused, match=message) as caught:
        store.check()
    assert caught.value.code == code


@pytest.mark.s3
@pytest.mark.slow
def test_h3_a_clock_that_is_wrong_has_a_code(ceph_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = botocore.auth.get_current_datetime

    def late(*given: Any, **named: Any) -> datetime:
        return now(*given, **named) - timedelta(minutes=20)

    store = _store(ceph_bucket)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", late)
    assert _refused(store.check) == "clock_skewed"


@pytest.mark.s3
@pytest.mark.slow
def test_keys_that_are_wrong_are_refused(ceph_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    s3_client.cache_clear()
    store = _store(ceph_bucket)
    assert _refused(store.check) in {"not_permitted", "credentials_wrong"}


@pytest.mark.s3
@pytest.mark.slow
def test_a_session_of_a_role_has_the_roles_policy(
    ceph_bucket: Any, ceph_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a workload identity comes down to: temporary credentials, and URLs that are signed with them."""
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/temper"]},
        "Action": ["sts:AssumeRole"],
    }
    role = f"role-{ceph_bucket.bucket}"
    admin = ("radosgw-admin", "--name", "client.rgw")
    trusted = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    ceph_server.run(*admin, "role", "create", "--role-name", role, "--assume-role-policy-doc", trusted)
    policy = ("--policy-name", "p", "--policy-doc", _document("policy: service", ceph_bucket.bucket))
    ceph_server.run(*admin, "role-policy", "put", "--role-name", role, *policy)
    sts = boto3.session.Session().client("sts", endpoint_url=ceph_bucket.endpoint_url)
    session = sts.assume_role(RoleArn=f"arn:aws:iam:::role/{role}", RoleSessionName="broker")["Credentials"]
    of_the_user = _store(ceph_bucket)
    of_the_user.put("files/theirs", b"data")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", session["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", session["SessionToken"])
    s3_client.cache_clear()
    store = _store(ceph_bucket)
    store.check()
    store.put("files/k", b"data")
    assert store.get("files/theirs") == of_the_user.get("files/k") == b"data"
    assert httpx.get(store.presigned_get("files/k", expires_s=60), trust_env=False).content == b"data"
    with pytest.raises(store._client.exceptions.ClientError, match="AccessDenied"):
        store._client.put_object(Bucket=ceph_bucket.bucket, Key="elsewhere/k", Body=b"")
