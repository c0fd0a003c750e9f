"""What every object store must do, run against each of them: a directory, S3 over its protocol, both through a broker."""

import errno
import hashlib
import itertools
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from broker_server import BrokerServer
from broker_server import bare_context
from s3_server import fresh_bucket

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.layout import BROKER_UPLOADS
from deploy.store.brokered import BrokeredStore
from deploy.store.directory import DirStore
from deploy.store.opening import locate
from deploy.store.opening import object_uri
from deploy.store.opening import open_store
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from deploy.store.s3 import S3Store
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import S3Settings

PART_BYTES = 5 << 20
"""The smallest part that S3 accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A store, and what a test does behind its back."""

    store: ObjectStore
    overwrite: Callable[[str, bytes], object]
    unfinished: Callable[[], int]


def _directory(root: Path) -> Backend:
    return Backend(
        store=DirStore(root),
        overwrite=lambda key, data: (root / key).write_bytes(data),
        unfinished=lambda: len(list((root / ".tmp").glob("*"))),
    )


def _s3(bucket: str, prefix: str = "some/prefix") -> Backend:
    settings = S3Settings(endpoint_url=os.environ["AWS_ENDPOINT_URL"], part_size_bytes=PART_BYTES)
    client = s3_client(settings)
    return Backend(
        store=S3Store(bucket, prefix, settings),
        overwrite=lambda key, data: client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data),
        unfinished=lambda: len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())),
    )


@pytest.fixture(scope="session")
def directory_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A broker over a directory, one for all tests: they keep apart by prefix."""
    root = tmp_path_factory.mktemp("brokered")
    broker = BrokerServer(
        context=bare_context(root / "home", DirStore(root / "own")), token_file=root / "token"
    )
    yield broker.start()
    broker.stop()


@pytest.fixture(scope="session")
def s3_broker(
    s3_endpoint_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[BrokerServer, str]]:
    """A broker over a bucket, and the bucket's name, likewise."""
    root = tmp_path_factory.mktemp("brokered")
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = fresh_bucket(monkeypatch, s3_endpoint_url, access_key="test", secret_key="test").bucket
        own = S3Store(bucket, "", S3Settings(endpoint_url=s3_endpoint_url))
    broker = BrokerServer(context=bare_context(root / "home", own), token_file=root / "token")
    yield broker.start(), bucket
    broker.stop()


def _brokered(backend: Backend, broker: BrokerServer, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The same store, reached through a broker whose own store holds it, as pods reach theirs."""
    monkeypatch.setenv("TEMPER_BROKER_URL", broker.url)
    monkeypatch.setenv("TEMPER_BROKER_TOKEN_FILE", str(broker.token_file))
    own = broker.context.store
    return Backend(
        store=broker.store(backend.store.uri, part_size_bytes=PART_BYTES),
        overwrite=backend.overwrite,
        unfinished=lambda: backend.unfinished() + len(list(own.list(BROKER_UPLOADS))),
    )


def _brokered_directory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    broker: BrokerServer = request.getfixturevalue("directory_broker")
    own = Path(broker.context.store.uri.removeprefix("file://"))
    root = own / secrets.token_hex(8)
    root.mkdir(parents=True)
    backend = _directory(root)
    unfinished = lambda: len(list((own / ".tmp").glob("*")))  # noqa: E731 - what is written lies there
    return _brokered(replace(backend, unfinished=unfinished), broker, monkeypatch)


def _brokered_s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    broker, bucket = request.getfixturevalue("s3_broker")
    request.getfixturevalue("s3_server")  # for what the test does behind the broker's back
    return _brokered(_s3(bucket, secrets.token_hex(8)), broker, monkeypatch)


def _brokered_ceph(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The only one of them whose server checks what a URL was signed for."""
    bucket = request.getfixturevalue("ceph_bucket").bucket
    home = request.getfixturevalue("tmp_path") / "home"
    broker = request.getfixturevalue("make_broker")(bare_context(home, S3Store(bucket)))
    return _brokered(_s3(bucket), broker, monkeypatch)


BROKERED = {"directory": _brokered_directory, "s3": _brokered_s3, "ceph": _brokered_ceph}
CEPH = [pytest.mark.s3, pytest.mark.slow]
BACKENDS = [
    "directory",
    pytest.param("s3_server", id="s3"),
    pytest.param("ceph_bucket", id="ceph", marks=CEPH),
    "brokered-directory",
    "brokered-s3",
    pytest.param("brokered-ceph", marks=CEPH),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    brokered = str(request.param).removeprefix("brokered-")
    if brokered in BROKERED and brokered != request.param:
        return BROKERED[brokered](request, monkeypatch)
    if request.param == "directory":
        (tmp_path / "root").mkdir()
        return _directory(tmp_path / "root")
    return _s3(request.getfixturevalue(request.param).bucket)


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


def _pattern(size_bytes: int) -> bytes:
    """Bytes in which no two stretches of a part's length are equal."""
    return b"".join(hashlib.sha256(b"%d" % n).digest() * 1024 for n in range(size_bytes // 32768 + 1))[
        :size_bytes
    ]


def _keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


# --- one object -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 9000], ids=["empty", "one", "2MiB"])
def test_put_then_get(store: ObjectStore, data: bytes) -> None:
    stored = store.put("a/b/c.bin", data)
    assert stored == StoredFile(name="c.bin", size_bytes=len(data), sha256=sha256_hex(data))
    assert store.get("a/b/c.bin") == data
    assert store.info("a/b/c.bin") == ObjectInfo(key="a/b/c.bin", size_bytes=len(data))


def test_put_takes_an_iterable_of_uneven_chunks(store: ObjectStore) -> None:
    stored = store.put("k", iter([b"", b"ab", b"", b"cde"]))
    assert (stored.size_bytes, store.get("k")) == (5, b"abcde")


def test_put_overwrites(store: ObjectStore) -> None:
    store.put("k", b"old and longer")
    store.put("k", b"new")
    assert store.get("k") == b"new"


def test_a_missing_object(store: ObjectStore, tmp_path: Path) -> None:
    expected = StoredFile(name="none", size_bytes=0, sha256=sha256_hex(b""))
    assert store.info("no/such") is None
    store.delete("no/such")
    with pytest.raises(ObjectMissing, match="no/such"):
        store.get("no/such")
    with pytest.raises(ObjectMissing):  # at once: a server answers 404 before it starts to stream
        store.read("no/such")
    with pytest.raises(ObjectMissing):
        store.read("no/such", start=3, length=0)
    with pytest.raises(ObjectMissing):
        store.fetch_file("no/such", tmp_path / "file", expected)
    assert not list(tmp_path.glob("*file*"))


def test_a_prefix_is_no_object(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    assert store.info("a") is None
    store.delete("a")
    with pytest.raises(ObjectMissing):
        store.get("a")
    with pytest.raises(ObjectMissing):
        store.get("a/b/c")
    assert _keys(store) == ["a/b"]


def test_get_refuses_what_is_too_large(store: ObjectStore) -> None:
    store.put("k", b"12345")
    assert store.get("k", limit_bytes=5) == b"12345"
    with pytest.raises(StoreError, match="larger than 4"):
        store.get("k", limit_bytes=4)


def test_delete(store: ObjectStore) -> None:
    store.put("a/k", b"1")
    store.delete("a/k")
    assert store.info("a/k") is None
    store.put("a", b"a file where a directory was")
    assert store.get("a") == b"a file where a directory was"


@pytest.mark.parametrize("size_bytes", [0, 1, 3 * PART_BYTES + 7], ids=["empty", "one", "four-parts"])
def test_put_file(store: ObjectStore, tmp_path: Path, size_bytes: int) -> None:
    data = _pattern(size_bytes)
    source = tmp_path / "source"
    source.write_bytes(data)
    stored = store.put_file("w/model.safetensors", source)
    assert stored == StoredFile(name="model.safetensors", size_bytes=size_bytes, sha256=sha256_hex(data))
    assert sha256_hex(b"".join(store.read("w/model.safetensors"))) == stored.sha256


def test_put_file_of_a_missing_file_is_the_disks_error(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("k", tmp_path / "none")
    assert _keys(store) == []


@pytest.mark.parametrize("extra_bytes", [0, 1], ids=["whole-parts", "and-a-rest"])
def test_a_long_put_arrives_in_order(backend: Backend, extra_bytes: int) -> None:
    data = _pattern(3 * PART_BYTES + extra_bytes)
    chunks = [data[at : at + 999_999] for at in range(0, len(data), 999_999)]
    stored = backend.store.put("long", chunks)
    assert stored == StoredFile(name="long", size_bytes=len(data), sha256=sha256_hex(data))
    assert b"".join(backend.store.read("long")) == data
    assert backend.unfinished() == 0


# --- ranges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, None), (0, 10), (1, 1), (3, None), (0, 0), (999, 1), (999, 50), (1000, None), (1000, 5), (5000, 1)],
)
def test_ranges_are_slices(store: ObjectStore, start: int, length: int | None) -> None:
    data = _pattern(1000)
    store.put("k", data)
    stop = None if length is None else start + length
    assert b"".join(store.read("k", start=start, length=length)) == data[start:stop]


def test_a_range_of_an_empty_object_is_empty(store: ObjectStore) -> None:
    store.put("k", b"")
    assert list(store.read("k", start=0, length=5)) == []


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
def test_a_negative_range_is_a_mistake(store: ObjectStore, start: int, length: int) -> None:
    store.put("k", b"123")
    with pytest.raises(ValueError, match="negative"):
        store.read("k", start=start, length=length)


def test_chunks_are_at_most_a_mebibyte(store: ObjectStore) -> None:
    data = _pattern((3 << 20) + 1)
    store.put("k", data)
    chunks = list(store.read("k", start=1))
    assert max(map(len, chunks)) <= 1 << 20
    assert b"".join(chunks) == data[1:]


def test_a_reader_may_stop_early(store: ObjectStore) -> None:
    store.put("k", _pattern(4 << 20))
    for _ in range(40):  # more than the connections or descriptors that could leak unseen
        next(store.read("k"))
    store.read("k")
    assert store.info("k") is not None


# --- put once ---------------------------------------------------------------------------------------


def test_put_once(store: ObjectStore) -> None:
    assert store.put_once("r", b"mine")
    assert store.put_once("r", b"mine")  # a retry after a lost answer
    assert not store.put_once("r", b"other")
    assert not store.put_once("r", b"min")
    assert not store.put_once("r", b"mine too")
    assert not store.put_once("r", b"")
    assert store.get("r") == b"mine"
    store.delete("r")
    assert store.put_once("r", b"other")


def test_f4_of_16_racing_threads_one_wins(backend: Backend) -> None:
    start = threading.Barrier(16)

    def write(round_: int, writer: int) -> bool:
        start.wait(30)
        return backend.store.put_once(f"jobs/{round_}/result.json", b"writer %d" % writer)

    for round_ in range(5):
        with ThreadPoolExecutor(16) as writers:
            won = list(writers.map(write, [round_] * 16, range(16)))
        assert won.count(True) == 1
        assert backend.store.get(f"jobs/{round_}/result.json") == b"writer %d" % won.index(True)
    assert backend.unfinished() == 0


_RACER = """
import sys
from pathlib import Path
from deploy.contract.layout import BROKER_UPLOADS
from deploy.store.brokered import BrokeredStore
from deploy.store.directory import DirStore
store = DirStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*[round_ for round_ in range(20) if store.put_once(f"r/{round_}", sys.argv[2].encode())])
"""


def test_f4_of_16_racing_processes_one_wins(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(tmp_path), f"writer-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(16)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 16
    assert sorted(map(int, itertools.chain.from_iterable(won))) == list(range(20))
    for writer, rounds in enumerate(won):
        for round_ in rounds:
            assert DirStore(tmp_path).get(f"r/{round_}") == b"writer-%d" % writer


# --- listing ----------------------------------------------------------------------------------------


def test_listing_is_in_key_order_and_by_string_prefix(store: ObjectStore) -> None:
    keys = ["a0", "a-b", "a.b", "a/0", "a/b/c", "a/b0", "A", "b/.hidden", "é/x"]
    for key in reversed(keys):
        store.put(key, key.encode())
    assert _keys(store) == sorted(keys, key=str.encode)
    for prefix in ["a", "a/", "a/b", "a/b/", "a-", "b/.", "b/.hidden", "é", "none", "a/b/c/", "A"]:
        assert _keys(store, prefix) == [key for key in sorted(keys, key=str.encode) if key.startswith(prefix)]
    assert [info.size_bytes for info in store.list("")] == [
        len(key.encode()) for key in sorted(keys, key=str.encode)
    ]


def test_listing_goes_on_behind_any_string(store: ObjectStore) -> None:
    keys = ["a/1", "a/2/x", "a/2/y", "a0", "a1/z", "b/c/d"]
    for key in keys:
        store.put(key, b"")
    for after in ["", *keys, "a", "a/", "a/2", "a/2/", "a/2/xx", "a/20", "a00", "b/c/", "c"]:
        for prefix in ("", "a", "a/", "a/2/", "b/"):
            expected = [key for key in keys if key.startswith(prefix) and key > after]
            assert [info.key for info in store.list(prefix, after=after)] == expected, (prefix, after)


def test_listing_an_empty_store(store: ObjectStore) -> None:
    assert _keys(store) == []
    assert _keys(store, "no/such/") == []
    assert store.delete_prefix("no/such/") == 0


def test_more_than_a_thousand_objects(backend: Backend) -> None:
    store = backend.store
    keys = [f"many/{n:05d}" for n in range(1050)]
    store.put("many/00000", b"")
    for key in keys:  # written past the store: a thousand synced writes only take time
        backend.overwrite(key, b"")
    store.put("many-more", b"not below the prefix")
    assert _keys(store, "many/") == keys
    assert store.delete_prefix("many/") == 1050
    assert _keys(store) == ["many-more"]


def test_listing_fetches_pages_as_needed(store: ObjectStore) -> None:
    for n in range(3):
        store.put(f"k{n}", b"")
    listed = store.list("")
    assert next(listed).key == "k0"
    store.delete("k2")
    assert {info.key for info in listed} <= {"k1", "k2"}


def test_delete_prefix_needs_its_slash(store: ObjectStore) -> None:
    store.put("job-1/x", b"")
    store.put("job-10/x", b"")
    for prefix in ["job-1", "", "/"]:
        with pytest.raises(InvalidKey):
            store.delete_prefix(prefix)
    assert store.delete_prefix("job-1/") == 1
    assert _keys(store) == ["job-10/x"]


# --- keys and URIs ----------------------------------------------------------------------------------

BAD_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/.."),
    *(
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "\udc80",
        ".tmp/x",
        "a/.tmp",
        "x" * 256,
        "x/" * 512 + "x",
    ),
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: ascii(key)[:20])
def test_bad_keys(store: ObjectStore, tmp_path: Path, key: str) -> None:
    expected = StoredFile(name="k", size_bytes=0, sha256=sha256_hex(b""))
    source = tmp_path / "source"
    source.touch()
    calls: list[Callable[[], Any]] = [
        lambda: store.put(key, b""),
        lambda: store.put_once(key, b""),
        lambda: store.put_file(key, source),
        lambda: store.get(key),
        lambda: store.read(key),
        lambda: store.fetch_file(key, tmp_path / "target", expected),
        lambda: store.info(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidKey):
            call()
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 129, "a%b", "a\\b"])
def test_written_names_are_those_that_a_manifest_can_hold(store: ObjectStore, name: str) -> None:
    with pytest.raises(InvalidKey):
        store.put(f"d/{name}", b"")
    with pytest.raises(InvalidKey):
        store.put_once(f"d/{name}", b"")
    assert store.info(f"d/{name}") is None


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "a/../b", "a\nb", ".tmp/"])
def test_bad_prefixes(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        store.list(prefix)


def test_an_objects_uri_leads_back_to_it(store: ObjectStore) -> None:
    store.put("jobs/1/spec.json", b"spec")
    above, key = locate(object_uri(store, "jobs/1/spec.json"))
    assert (key, above.get(key)) == ("spec.json", b"spec")
    assert above.uri == f"{store.uri}/jobs/1"
    assert open_store(f"{store.uri}/").get("jobs/1/spec.json") == b"spec"
    assert above.put_once("other.json", b"1")
    assert _keys(store) == ["jobs/1/other.json", "jobs/1/spec.json"]


# --- verified fetching ------------------------------------------------------------------------------


def test_fetch_file(store: ObjectStore, tmp_path: Path) -> None:
    data = _pattern(3 << 20)
    stored = store.put("w/model.bin", data)
    target = tmp_path / "deep" / "model.bin"
    store.fetch_file("w/model.bin", target, stored)
    assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["model.bin"]


@pytest.mark.parametrize("wrong", [b"precious bytez", b"precious byte", b"precious bytes!", b""])
def test_f2_changed_bytes_are_found_and_leave_nothing(backend: Backend, tmp_path: Path, wrong: bytes) -> None:
    stored = backend.store.put("k", b"precious bytes")
    backend.overwrite("k", wrong)
    target = tmp_path / "out" / "k"
    target.parent.mkdir()
    target.write_bytes(b"an older file, which nobody verified")
    with pytest.raises(ObjectCorrupt, match=stored.sha256):
        backend.store.fetch_file("k", target, stored)
    assert os.listdir(target.parent) == []


def test_fetching_onto_a_full_disk_is_the_disks_error(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store.put("k", b"data")

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        store.fetch_file("k", tmp_path / "out" / "k", stored)
    assert os.listdir(tmp_path / "out") == []


# --- writes that do not end -------------------------------------------------------------------------


class _SourceBrokeError(Exception):
    """What the caller's iterable raises."""


@pytest.mark.parametrize("size_bytes", [0, 10, 2 * PART_BYTES + 1], ids=["at-once", "early", "third-part"])
@pytest.mark.parametrize("error", [_SourceBrokeError, OSError, KeyboardInterrupt])
def test_a_source_that_raises_leaves_nothing(
    backend: Backend, size_bytes: int, error: type[BaseException]
) -> None:
    def source() -> Iterator[bytes]:
        data = _pattern(size_bytes)
        yield from (data[at : at + (1 << 20)] for at in range(0, size_bytes, 1 << 20))
        raise error("half way")

    backend.store.put("there", b"before")
    for key in ("there", "new/one"):
        with pytest.raises(error, match="half way"):
            backend.store.put(key, source())
    assert _keys(backend.store) == ["there"]
    assert backend.store.get("there") == b"before"
    assert backend.unfinished() == 0


def test_an_object_is_invisible_while_it_is_written(store: ObjectStore) -> None:
    def source() -> Iterator[bytes]:
        for _ in range(3):
            yield bytes(PART_BYTES)
            assert store.info("k") is None
            assert _keys(store) == []

    store.put("k", source())
    assert store.info("k") == ObjectInfo(key="k", size_bytes=3 * PART_BYTES)


_STREAMER = """
import os, sys
import psutil
from deploy.store.opening import open_store
store = open_store(sys.argv[1])
rss = psutil.Process().memory_info
store.put("warm", bytes(9 << 20))
before = rss().rss
peak = before
def source():
    global peak
    for n in range(200):
        yield os.urandom(16) * (1 << 16)
        peak = max(peak, rss().rss)
stored = store.put("long", source())
for chunk in store.read("long"):
    peak = max(peak, rss().rss)
print(stored.size_bytes, peak - before)
"""


def test_memory_stays_flat_for_200_megabytes(store: ObjectStore) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _STREAMER, store.uri], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr
    size_bytes, grown_bytes = map(int, answer.stdout.split())
    assert size_bytes == 200 << 20
    assert grown_bytes < 40 << 20  # two parts of 8 MiB, and what the allocator keeps
    assert store.delete_prefix("none/") == 0
    store.delete("long")


def test_the_sweep_removes_only_what_is_stale(backend: Backend) -> None:
    store = backend.store
    if isinstance(store, BrokeredStore):
        pytest.skip("it is the broker's store that is swept")
    assert isinstance(store, DirStore | S3Store)
    swept: list[int] = []

    def source() -> Iterator[bytes]:
        yield bytes(PART_BYTES)
        yield b"1"
        assert backend.unfinished() == 1
        swept.append(store.sweep())  # this very write goes on
        yield b"2"

    if isinstance(store, DirStore):  # the server of the tests gives every upload a date of long ago
        assert store.put("k", source()).size_bytes == PART_BYTES + 2
        assert swept == [0]
    store.put("other", b"")
    assert store.sweep(older_than_s=-1) == 0
    assert _keys(store)[-1] == "other"
