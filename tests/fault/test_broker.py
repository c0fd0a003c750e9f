"""Everything that can break between a pod, the broker and the store; and pods that mean harm."""

import hashlib
import http.client
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from broker_server import NO_LIMITS
from broker_server import POD
from broker_server import TOKEN
from broker_server import BrokerServer
from broker_server import bare_context
from certificates import write_certificate

from deploy.contract.layout import BROKER_UPLOADS
from deploy.store import broker_connection
from deploy.store.broker_wire import SHA256_HEADER
from deploy.store.broker_wire import SIZE_HEADER
from deploy.store.brokered import BrokeredStore
from deploy.store.directory import DirStore
from deploy.store.opening import open_directly
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3 import S3Store
from service import connection
from service.broker.limits import BrokerLimits

PART_BYTES = 5 << 20
DATA = random.Random(7).randbytes(3_000_000)


@dataclass
class Waits:
    """The client's waits between its tries: none, but noted, and something may happen meanwhile."""

    seconds: list[float] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(broker_connection, "time", waits)
    return waits


@pytest.fixture
def own(tmp_path: Path) -> DirStore:
    return DirStore(tmp_path / "objects")


@pytest.fixture
def broker(make_broker: Callable[..., BrokerServer], own: DirStore, tmp_path: Path) -> BrokerServer:
    """Over a directory: everything goes through it."""
    return make_broker(bare_context(tmp_path / "home", own))


@pytest.fixture
def s3_broker(make_broker: Callable[..., BrokerServer], s3_server: Any, tmp_path: Path) -> BrokerServer:
    """Over S3: large objects go past it."""
    return make_broker(bare_context(tmp_path / "home", S3Store(s3_server.bucket)))


@pytest.fixture
def proxied(make_proxy: Callable[[str], Any], broker: BrokerServer) -> tuple[BrokeredStore, Any]:
    """A store whose way to the broker breaks as a test says."""
    proxy = make_proxy(broker.url)
    return broker.store(
        part_size_bytes=PART_BYTES, max_attempts=3, read_timeout_s=20.0, url=proxy.endpoint_url
    ), proxy


def _keys(store: ObjectStore) -> list[str]:
    return [info.key for info in store.list("")]


# ---- tokens ---------------------------------------------------------------------------------------


def test_a_token_that_expires_is_replaced_by_its_rotation(broker: BrokerServer, waits: Waits) -> None:
    store = broker.store()
    store.put("k", b"1")
    broker.reviewer.known = {"new.token.x": POD}
    waits.meanwhile = lambda: broker.token_file.write_text("new.token.x\n")
    broker.token_file.write_text("expired.token.x")
    assert store.get("k") == b"1"


def test_a_token_that_is_never_good_is_an_error(broker: BrokerServer) -> None:
    broker.token_file.write_text("for.another.audience")
    with pytest.raises(StoreError, match="token for the broker is needed"):
        broker.store().get("k")


@pytest.mark.parametrize("content", [None, "", "\n", "a\nb", "é"])
def test_a_token_file_without_a_token_is_named(broker: BrokerServer, content: str | None) -> None:
    broker.token_file.unlink()
    if content is not None:
        broker.token_file.write_text(content)
    with pytest.raises(StoreError, match="TEMPER_BROKER_TOKEN_FILE"):
        broker.store().get("k")


def test_while_tokens_cannot_be_reviewed_nobody_is_let_in_and_everybody_waits(
    broker: BrokerServer, waits: Waits
) -> None:
    broker.reviewer.down = True
    with pytest.raises(StoreUnavailable, match="cannot be found out now"):
        broker.store().put("k", b"1")
    assert len(waits.seconds) == 7
    assert all(wait >= 1.0 for wait in waits.seconds)  # as asked for
    assert _keys(broker.context.store) == []
    broker.reviewer.down = False
    broker.store().put("k", b"1")


def test_the_token_goes_to_the_broker_alone(
    s3_broker: BrokerServer, s3_server: Any, make_proxy: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = make_proxy(s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", watched.endpoint_url)
    s3_broker.stop()
    s3_broker.context = bare_context(s3_broker.context.settings.home, S3Store(s3_server.bucket))
    store = s3_broker.start().store(part_size_bytes=PART_BYTES)
    store.put("large", bytes(PART_BYTES + 1))
    assert b"".join(store.read("large")) == bytes(PART_BYTES + 1)
    direct = [request for request in watched.requests if "X-Amz-Signature" in request.target]
    assert {request.method for request in direct} == {"PUT", "GET"}
    assert not any("authorization" in request.headers.lower() for request in direct)
    assert not any(TOKEN in request.headers for request in watched.requests)


# ---- cut connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("tenth", range(10))
def test_a_put_that_is_cut_is_not_there(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any, tenth: int
) -> None:
    store, proxy = proxied
    own.put("old", b"before")
    proxy.rule = lambda request: fault(cut_request_after=tenth * 100_000)
    for key in ("old", "new"):
        with pytest.raises(StoreUnavailable):
            store.put(key, bytes(1_000_000))
    assert len(proxy.requests) == 6  # each was tried three times
    assert own.get("old") == b"before"
    assert _keys(own) == ["old"]


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_large_write_that_is_cut_leaves_nothing(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any, tmp_path: Path, part: int
) -> None:
    store, proxy = proxied
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * PART_BYTES + 100_000))
    proxy.rule = lambda request: (
        fault(cut_request_after=50_000) if f"number={part}" in request.target else None
    )
    with pytest.raises(StoreUnavailable):
        store.put_file("k", source)
    assert _keys(own) == []


def test_cuts_that_heal_go_unnoticed(proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any) -> None:
    store, proxy = proxied
    proxy.rule = lambda request: (
        fault(cut_request_after=10)
        if request.number % 3 == 1
        else fault(cut_answer_after=0)
        if request.number % 3 == 2
        else None
    )
    data = random.Random(3).randbytes(2 * PART_BYTES + 1)
    stored = store.put("k", data)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(own.read("k")) == data
    assert _keys(own) == ["k"]


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_download_goes_on_where_it_was_cut(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any, tmp_path: Path, tenth: int
) -> None:
    store, proxy = proxied
    stored = own.put("k", DATA)
    proxy.rule = lambda request: fault(cut_answer_after=tenth * 300_000) if request.number == 1 else None
    store.fetch_file("k", tmp_path / "k", stored)
    assert (tmp_path / "k").read_bytes() == DATA
    assert len(proxy.requests) == 2
    assert re.search(r"\r\nrange: bytes=[0-9]+-\r\n", proxy.requests[1].headers.lower() + "\r\n")


def test_a_download_with_many_breaks_comes_to_its_end(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any
) -> None:
    store, proxy = proxied
    own.put("k", bytes(12 << 20))
    proxy.rule = lambda request: fault(cut_answer_after=(1 << 20) + 1000)
    assert sum(map(len, store.read("k"))) == 12 << 20


def test_a_download_that_is_always_cut_leaves_nothing(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any, tmp_path: Path
) -> None:
    store, proxy = proxied
    stored = own.put("k", DATA)
    proxy.rule = lambda request: fault(cut_answer_after=0)
    with pytest.raises(StoreUnavailable):
        store.fetch_file("k", tmp_path / "out" / "k", stored)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_download_does_not_go_on_with_an_object_of_another_size(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any
) -> None:
    store, proxy = proxied
    own.put("k", DATA)
    proxy.rule = lambda request: fault(cut_answer_after=1_500_000) if request.number == 1 else None
    chunks = store.read("k")
    next(chunks)
    own.put("k", DATA + b"1")
    with pytest.raises(StoreUnavailable, match="overwritten"):
        list(chunks)


def test_a_bit_that_flips_once_is_fetched_again(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any, tmp_path: Path
) -> None:
    store, proxy = proxied
    stored = own.put("k", b"data")
    proxy.rule = lambda request: fault(flip_answer=request.number == 1)
    store.fetch_file("k", tmp_path / "k", stored)
    assert (tmp_path / "k").read_bytes() == b"data"
    proxy.rule = lambda request: fault(flip_answer=True)
    with pytest.raises(ObjectCorrupt):
        store.fetch_file("k", tmp_path / "other", stored)


def test_put_once_survives_a_lost_answer(
    proxied: tuple[BrokeredStore, Any], own: DirStore, fault: Any
) -> None:
    store, proxy = proxied
    proxy.rule = lambda request: fault(cut_answer_after=0) if request.number == 1 else None
    assert store.put_once("result.json", b"mine")
    assert own.get("result.json") == b"mine"
    proxy.requests.clear()
    assert not store.put_once("result.json", b"theirs")
    proxy.rule = lambda request: fault(cut_answer_after=0)
    with pytest.raises(StoreUnavailable):
        store.put_once("other.json", b"mine")
    assert own.put_once("other.json", b"mine")


# ---- the broker goes away -------------------------------------------------------------------------


def _slowly(begun: threading.Event, go_on: threading.Event) -> Iterator[bytes]:
    yield DATA * 2
    begun.set()
    assert go_on.wait(30)
    yield DATA * 2


@pytest.mark.parametrize("kind", ["broker", "s3_broker"])
def test_a_broker_that_is_replaced_in_the_middle_of_an_upload(
    kind: str, request: pytest.FixtureRequest
) -> None:
    broker: BrokerServer = request.getfixturevalue(kind)
    begun, go_on = threading.Event(), threading.Event()
    stored: list[Any] = []
    store = broker.store(part_size_bytes=PART_BYTES)
    writer = threading.Thread(target=lambda: stored.append(store.put("k", _slowly(begun, go_on))))
    writer.start()
    assert begun.wait(30)
    broker.stop()
    broker.start()  # with nothing in its memory
    go_on.set()
    writer.join(60)
    assert stored[0].sha256 == hashlib.sha256(DATA * 4).hexdigest()
    assert b"".join(broker.context.store.read("k")) == DATA * 4
    assert list(broker.context.store.list(BROKER_UPLOADS)) == []


def test_a_broker_that_is_not_there_is_waited_for(broker: BrokerServer, waits: Waits) -> None:
    store = broker.store(connect_timeout_s=1.0)
    broker.stop()

    waits.meanwhile = lambda: None if broker.running else broker.start()
    store.put("k", b"1")
    assert store.get("k") == b"1"


def test_nobody_listens(broker: BrokerServer) -> None:
    store = broker.store(connect_timeout_s=0.5)
    broker.stop()
    for call in (
        lambda: store.get("k"),
        lambda: store.put("k", b"1"),
        lambda: list(store.list("")),
        lambda: store.info("k"),
    ):
        with pytest.raises(StoreUnavailable):
            call()


def test_somebody_listens_and_never_answers(broker: BrokerServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = broker.store(url=url, read_timeout_s=0.2, connect_timeout_s=0.2, max_attempts=2)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get("k")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", StoreError),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", StoreError),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n[]", StoreError),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\n<htm>", StoreUnavailable),
        (
            b"HTTP/1.1 307 Moved\r\nlocation: ftp://x/y\r\nx-temper-size: 3\r\ncontent-length: 0\r\n\r\n",
            StoreError,
        ),
        (b"HTTP/1.1 307 Moved\r\nx-temper-size: 3\r\ncontent-length: 0\r\n\r\n", StoreError),
        (b"nonsense\r\n\r\n", StoreUnavailable),
    ],
    ids=["other-200", "other-404", "json-404", "proxy", "ftp", "nowhere", "nonsense"],
)
def test_what_is_no_broker_is_taken_for_none(
    proxied: tuple[BrokeredStore, Any], fault: Any, answer: bytes, error: type[StoreError]
) -> None:
    store, proxy = proxied
    proxy.rule = lambda request: fault(
        answer=answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    )
    with pytest.raises(error) as caught:
        store.get("k")
    assert not isinstance(caught.value, ObjectMissing)
    if error is StoreError:
        assert not isinstance(caught.value, StoreUnavailable)


# ---- URLs that expire, stores that refuse -----------------------------------------------------------


def _refusing(proxy: Any, fault: Any, method: str, refusals: int, status: str) -> None:
    """Let the store's own server refuse the first requests that come by a URL of the broker's."""
    refused: list[Any] = []

    def rule(request: Any) -> Any:
        if "X-Amz-Signature" not in request.target or request.method != method or len(refused) >= refusals:
            return None
        refused.append(request)
        return fault(answer=f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())

    proxy.rule = rule


@pytest.fixture
def s3_proxied(
    make_broker: Callable[..., BrokerServer],
    make_proxy: Callable[[str], Any],
    s3_server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[BrokeredStore, Any, ObjectStore]:
    """A store whose own server can be broken; the way to the broker holds."""
    direct = S3Store(s3_server.bucket)
    proxy = make_proxy(s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
    broker = make_broker(bare_context(tmp_path / "home", S3Store(s3_server.bucket)))
    return broker.store(part_size_bytes=PART_BYTES, max_attempts=4), proxy, direct


@pytest.mark.parametrize("status", ["403 Forbidden", "503 Slow Down", "400 Bad Request"])
def test_an_expired_url_is_asked_for_again(
    s3_proxied: tuple[BrokeredStore, Any, ObjectStore], fault: Any, status: str
) -> None:
    store, proxy, direct = s3_proxied
    direct.put("k", DATA)
    _refusing(proxy, fault, "GET", 2, status)
    assert b"".join(store.read("k")) == DATA
    if status.startswith("400"):
        return
    _refusing(proxy, fault, "PUT", 2, status)
    data = DATA * 4
    store.put("large", data)
    assert b"".join(direct.read("large")) == data


def test_a_url_that_expires_in_the_middle_is_replaced_and_the_transfer_goes_on(
    s3_proxied: tuple[BrokeredStore, Any, ObjectStore], fault: Any
) -> None:
    store, proxy, direct = s3_proxied
    direct.put("k", DATA)
    reads: list[Any] = []

    def rule(request: Any) -> Any:
        if request.method != "GET" or "X-Amz-Signature" not in request.target:
            return None
        reads.append(request)
        if len(reads) == 1:
            return fault(cut_answer_after=2_000_000)
        return (
            fault(answer=b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") if len(reads) == 2 else None
        )

    proxy.rule = rule
    assert b"".join(store.read("k")) == DATA
    assert len(reads) == 3
    assert "\r\nrange: bytes=" in reads[2].headers.lower()
    assert "\r\nif-match: " in reads[2].headers.lower()


def test_a_download_past_the_broker_never_mixes_two_objects(
    s3_proxied: tuple[BrokeredStore, Any, ObjectStore], fault: Any
) -> None:
    store, proxy, direct = s3_proxied
    direct.put("k", b"1" * 3_000_000)
    reads: list[Any] = []

    def rule(request: Any) -> Any:
        if request.method == "GET" and "X-Amz-Signature" in request.target:
            reads.append(request)
            return fault(cut_answer_after=1_500_000) if len(reads) == 1 else None
        return None

    proxy.rule = rule
    chunks = store.read("k")
    assert set(next(chunks)) == {ord("1")}
    direct.put("k", b"2" * 3_000_000)
    with pytest.raises(StoreUnavailable, match="overwritten"):
        list(chunks)


def test_a_url_that_never_works_is_an_error_without_its_signature(
    s3_proxied: tuple[BrokeredStore, Any, ObjectStore], fault: Any
) -> None:
    store, proxy, direct = s3_proxied
    direct.put("k", DATA)
    _refusing(proxy, fault, "GET", 99, "403 Forbidden")
    with pytest.raises(StoreUnavailable, match="HTTP 403") as caught:
        store.get("k")
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (StoreFull("no room"), StoreFull),
        (StoreUnavailable("slow down"), StoreUnavailable),
        (StoreError("the credentials do not permit this"), StoreUnavailable),
    ],
)
def test_what_the_brokers_store_says_becomes_the_pods_error(
    broker: BrokerServer, monkeypatch: pytest.MonkeyPatch, raised: StoreError, error: type[StoreError]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise raised

    for name in ("put", "info", "list"):
        monkeypatch.setattr(DirStore, name, fails)
    store = broker.store()
    for call in (lambda: store.put("k", b"1"), lambda: store.get("k"), lambda: list(store.list(""))):
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is error or issubclass(type(caught.value), error)


# ---- pods that mean harm --------------------------------------------------------------------------


def _raw(broker: BrokerServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", broker.port), timeout=20)


def _head(broker: BrokerServer, length: int, *, path: str = "/v1/objects", query: str = "&key=k") -> bytes:
    store = broker.context.store.uri
    return (
        f"PUT {path}?store={store}{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        f"{SHA256_HEADER}: {'0' * 64}\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


@pytest.fixture
def strict_broker(make_broker: Callable[..., BrokerServer], own: DirStore, tmp_path: Path) -> BrokerServer:
    limits = BrokerLimits(idle_s=0.3, in_flight=2)
    return make_broker(bare_context(tmp_path / "home", own), limits=limits)


def _closes(connection_: socket.socket, *, within_s: float) -> bytes:
    received = b""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        got = connection_.recv(65536)
        if not got:
            return received
        received += got
        if b"\r\n\r\n" in received and b"content-length" in received.lower():
            return received
    raise AssertionError("it stays open")


def test_a_body_that_drips_is_cut(strict_broker: BrokerServer, own: DirStore) -> None:
    with _raw(strict_broker) as pod:
        pod.sendall(_head(strict_broker, 1000) + b"x")
        assert b" 408 " in _closes(pod, within_s=10)
    assert _keys(own) == []


def test_a_body_that_is_larger_than_declared_is_not_stored(
    strict_broker: BrokerServer, own: DirStore
) -> None:
    with _raw(strict_broker) as pod:
        pod.sendall(_head(strict_broker, 1) + b"xGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 400 " in _closes(pod, within_s=10)  # other bytes than declared; the rest is another request
    assert _keys(own) == []


def test_a_body_that_is_cut_is_not_stored(strict_broker: BrokerServer, own: DirStore) -> None:
    query = f"&key=k&upload=018f00000000-{'0' * 32}&number=1"
    for path, rest in (("/v1/objects", "&key=k"), ("/v1/uploads/parts", query)):
        with _raw(strict_broker) as pod:
            pod.sendall(_head(strict_broker, 500_000, path=path, query=rest) + bytes(100_000))
    deadline = time.monotonic() + 10
    while "temper_broker_requests_in_flight 0.0" not in _metrics(strict_broker):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert _keys(own) == []


def _metrics(broker: BrokerServer) -> str:
    connection_ = http.client.HTTPConnection("127.0.0.1", broker.port, timeout=10)
    connection_.request("GET", "/metrics")
    text = connection_.getresponse().read().decode()
    connection_.close()
    return text


@pytest.mark.parametrize("sent", [b"", b"GET /v1/objects HTTP/1.1\r\nhost", b"GET /healthz HTTP/1.1\r\nx: "])
def test_a_head_that_never_comes_is_not_waited_for(
    strict_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    with _raw(strict_broker) as pod:
        pod.sendall(sent)
        assert _closes(pod, within_s=10) == b""
    with _raw(strict_broker) as pod:  # nor after a request that was answered
        pod.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in pod.recv(65536)
        pod.sendall(b"GET /heal")
        assert _closes(pod, within_s=10) == b""


def test_a_head_without_end_is_cut(strict_broker: BrokerServer) -> None:
    with _raw(strict_broker) as pod:
        pod.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        with pytest.raises(OSError, match=r"reset|pipe|closed"):
            _send_for_ever(pod)


def _send_for_ever(pod: socket.socket) -> None:
    for _ in range(1000):
        pod.sendall(b"x: " + b"y" * 10_000 + b"\r\n")
    if pod.recv(1) == b"":
        raise ConnectionResetError("closed")


def test_an_answer_that_nobody_reads_gives_its_place_back(strict_broker: BrokerServer, own: DirStore) -> None:
    own.put("large", bytes(64 << 20))
    store = strict_broker.store(max_attempts=1)
    request = (
        f"GET /v1/objects?store={own.uri}&key=large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    with _raw(strict_broker) as one, _raw(strict_broker) as two:
        for pod in (one, two):
            pod.sendall(request)
            pod.recv(1000)
        deadline = time.monotonic() + 10
        while True:
            try:
                store.info("large")
                break
            except StoreUnavailable:  # both places are taken
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_a_pod_has_so_many_requests_at_a_time(
    make_broker: Callable[..., BrokerServer], own: DirStore, tmp_path: Path
) -> None:
    strict_broker = make_broker(bare_context(tmp_path / "home", own), limits=BrokerLimits(in_flight=2))
    with _raw(strict_broker) as one, _raw(strict_broker) as two:
        for pod in (one, two):
            pod.sendall(_head(strict_broker, 1000))
        deadline = time.monotonic() + 10
        while "temper_broker_requests_in_flight 2.0" not in _metrics(strict_broker):
            assert time.monotonic() < deadline
        with pytest.raises(StoreUnavailable, match="at a time"):
            strict_broker.store(max_attempts=1).get("k")


def test_parts_that_are_larger_than_declared_are_refused_by_the_store(
    s3_broker: BrokerServer, s3_server: Any
) -> None:
    """Moto does not check signatures; what is checked here is that the length is part of what is signed."""
    store = s3_broker.store()
    answer = store._connection.call(
        "POST", "/v1/uploads", store._named("k"), body=b'{"part_size_bytes": 8388608}'
    )
    upload = answer.data.decode().split('"')[3]
    answer = store._connection.call(
        "POST",
        "/v1/uploads/parts",
        {**store._named("k"), "upload": upload},
        body=b'{"number": 1, "size_bytes": 1000}',
    )
    assert "content-length" in answer.data.decode()


def test_an_object_of_another_size_than_declared_is_removed(s3_broker: BrokerServer) -> None:
    store = s3_broker.store(part_size_bytes=PART_BYTES)
    store.put("k", DATA)
    with pytest.raises(StoreError, match="declared were 7"):
        _complete_with(store, size_bytes=7)
    assert s3_broker.context.store.info("lie") is None


def _complete_with(store: BrokeredStore, *, size_bytes: int) -> None:
    call, named = store._connection.call, store._named("lie")
    begun = call("POST", "/v1/uploads", named, body=b'{"part_size_bytes": 8388608}')
    query = {**named, "upload": begun.data.decode().split('"')[3]}
    url = (
        call("POST", "/v1/uploads/parts", query, body=b'{"number": 1, "size_bytes": 5}')
        .data.decode()
        .split('"')[3]
    )
    etag = store._connection.elsewhere("PUT", url, body=b"12345").headers["etag"].replace('"', '\\"')
    body = f'{{"etags": ["{etag}"], "size_bytes": {size_bytes}, "sha256": "{"0" * 64}"}}'
    call("POST", "/v1/uploads/complete", query, body=body.encode())


# ---- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["broker:8002", "ftp://broker", "http://", "http://broker?x=1"])
def test_a_url_that_is_none_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPER_BROKER_URL", url)
    from deploy.store.opening import open_store

    with pytest.raises(StoreError, match="TEMPER_BROKER_URL"):
        open_store("s3://bucket/x")


def test_a_certificate_that_is_not_there_is_named(broker: BrokerServer, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="TEMPER_BROKER_CA_FILE"):
        broker.store(ca_file=tmp_path / "none.crt")


def test_pods_know_the_broker_by_its_certificate(
    make_broker: Callable[..., BrokerServer], own: DirStore, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_certificate(certificate, key)
    context = bare_context(tmp_path / "home", own)
    settings = replace(context.settings, broker_tls=(certificate, key))
    broker = make_broker(replace(context, settings=settings))
    url = broker.url.replace("http:", "https:")
    store = broker.store(url=url, ca_file=certificate)
    store.put("k", b"1")
    assert store.get("k") == b"1"
    store._connection._broker.clear()  # a server that stops would wait for this end to say good-bye
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        broker.store(url=url, max_attempts=1).get("k")
    other, other_key = tmp_path / "other.crt", tmp_path / "other.key"
    write_certificate(other, other_key)
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        broker.store(url=url, ca_file=other, max_attempts=1).get("k")


def test_the_broker_reaches_stores_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMPER_BROKER_URL", "http://127.0.0.1:9")
    assert isinstance(open_directly(tmp_path.as_uri()), DirStore)


def test_where_the_store_cannot_be_reached_by_pods_everything_goes_through_the_broker(
    make_broker: Callable[..., BrokerServer], s3_server: Any, tmp_path: Path
) -> None:
    limits = replace(NO_LIMITS, direct=False)
    broker = make_broker(bare_context(tmp_path / "home", S3Store(s3_server.bucket)), limits=limits)
    store = broker.store(part_size_bytes=PART_BYTES)
    stored = store.put("k", DATA * 4)
    store.fetch_file("k", tmp_path / "k", stored)
    answer = store._connection.stream("/v1/objects", store._named("k"), {})
    assert (answer.status, answer.headers[SIZE_HEADER]) == (200, str(len(DATA) * 4))
    answer.close()
