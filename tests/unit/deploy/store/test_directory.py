"""What only a directory can get wrong: links, full disks, crashes, concurrent deletes, odd files."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.store.directory import DirStore
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> DirStore:
    return DirStore(root)


def _temporaries(root: Path) -> list[str]:
    return os.listdir(root / ".tmp")


def test_objects_are_plain_files(store: DirStore, root: Path) -> None:
    store.put("jobs/1/spec.json", b"spec")
    assert (root / "jobs/1/spec.json").read_bytes() == b"spec"
    assert DirStore(root / "jobs" / "1").get("spec.json") == b"spec"


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = DirStore(tmp_path / "not-made")
    assert list(store.list("")) == []
    assert store.info("k") is None
    store.delete("k")
    assert store.sweep() == 0
    assert not (tmp_path / "not-made").exists()
    store.put("k", b"1")
    assert (tmp_path / "not-made" / "k").exists()


def test_the_umask_decides_who_reads(store: DirStore, root: Path) -> None:
    before = os.umask(0o027)
    try:
        store.put("k", b"")
    finally:
        os.umask(before)
    assert (root / "k").stat().st_mode & 0o777 == 0o640


# --- links and other things that are no objects ------------------------------------------------------


@pytest.mark.parametrize("link", ["file", "directory"])
def test_no_link_is_followed(store: DirStore, root: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    if link == "file":
        (root / "d").mkdir()
        (root / "d" / "secret").symlink_to(outside / "secret")
    else:
        (root / "d").symlink_to(outside)
    expected = StoredFile(name="secret", size_bytes=6, sha256=sha256_hex(b"secret"))
    assert store.info("d/secret") is None
    assert list(store.list("")) == list(store.list("d/")) == []
    with pytest.raises(ObjectMissing):
        store.get("d/secret")
    with pytest.raises(ObjectMissing):
        store.fetch_file("d/secret", tmp_path / "copy", expected)
    with pytest.raises(StoreError):
        store.put_once("d/secret", b"secret")
    store.delete("d/secret")
    store.delete_prefix("d/")
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_writing_over_a_link_replaces_the_link(store: DirStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "k").symlink_to(tmp_path / "outside")
    store.put("k", b"mine")
    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert not (root / "k").is_symlink()


def test_writing_below_a_link_is_refused(store: DirStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "d").symlink_to(tmp_path / "outside")
    (root / ".tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        store.put("k", b"")
    (root / ".tmp").unlink()
    with pytest.raises(StoreError, match="in the way"):
        store.put("d/k", b"")
    assert os.listdir(tmp_path / "outside") == []


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    DirStore(tmp_path / "link").put("k", b"1")
    assert (root / "k").read_bytes() == b"1"


def test_what_is_no_regular_file_is_no_object(store: DirStore, root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "line\nbreak").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"")
    assert list(store.list("")) == []
    assert store.info("fifo") is None
    with pytest.raises(ObjectMissing):
        store.get("fifo")
    with pytest.raises(StoreError, match="in the way"):
        store.put_once("fifo", b"")


def test_a_key_cannot_be_file_and_directory(store: DirStore) -> None:
    store.put("a", b"1")
    with pytest.raises(StoreError, match="in the way"):
        store.put("a/b", b"2")
    store.put("c/d", b"3")
    with pytest.raises(StoreError, match="in the way"):
        store.put("c", b"4")
    assert [info.key for info in store.list("")] == ["a", "c/d"]


# --- disks that are full or broken -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EROFS, StoreError),
    ],
)
@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace", "link", "mkdir"])
def test_f8_a_disk_that_fails_leaves_nothing(
    store: DirStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    code: int,
    error: type[StoreError],
) -> None:
    store.put("there", b"before")
    original: Callable[..., Any] = getattr(os, step)

    def broken(*args: Any, **kwargs: Any) -> Any:
        if step == "open" and not args[1] & os.O_CREAT:
            return original(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, broken)
    write: Callable[[str, bytes], Any] = store.put_once if step == "link" else store.put
    with pytest.raises(error) as caught:
        write("new/k", b"data")
    assert type(caught.value) is error
    monkeypatch.undo()
    assert [info.key for info in store.list("")] == ["there"]
    assert _temporaries(root) == []
    store.put("new/k", b"data")


_LIMITED = """
import resource, sys
from pathlib import Path
from deploy.store.directory import DirStore
from deploy.store.protocol import StoreFull
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    DirStore(Path(sys.argv[1])).put("k", [bytes(70_000), bytes(70_000)])
except StoreFull as error:
    print("full:", error)
"""


def test_f8_a_write_that_really_runs_out_of_room(store: DirStore, root: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(root)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "full: k: File too large\n"
    assert list(store.list("")) == []
    assert _temporaries(root) == []


def test_what_reading_breaks_on_is_the_stores_error(
    store: DirStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store.put("k", b"data")

    def pread(*_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(StoreUnavailable, match="k: Input/output error"):
        store.get("k")
    with pytest.raises(StoreUnavailable):
        store.fetch_file("k", tmp_path / "copy", stored)
    assert not (tmp_path / "copy").exists()


# --- crashes and races -------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from deploy.store.directory import DirStore
def source():
    yield bytes(1 << 20)
    os.kill(os.getpid(), signal.SIGKILL)
DirStore(Path(sys.argv[1])).put("k", source())
"""


def test_a_killed_writer_leaves_nothing_visible_and_is_swept(store: DirStore, root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(root)], timeout=60, check=False)
    assert killed.returncode == -9
    assert list(store.list("")) == []
    (left,) = (root / ".tmp").iterdir()
    assert store.sweep() == 0
    long_ago = time.time() - 100_000
    os.utime(left, (long_ago, long_ago))
    store.put("other", b"")  # the first write sweeps
    assert _temporaries(root) == []


def test_the_sweep_spares_a_write_that_goes_on(store: DirStore, root: Path) -> None:
    def source() -> Any:
        yield b"1"
        assert DirStore(root).sweep() == 0
        assert len(_temporaries(root)) == 1
        yield b"2"

    assert store.put("k", source()).size_bytes == 2


def test_deleting_takes_empty_directories_along(store: DirStore, root: Path) -> None:
    store.put("jobs/1/a/x", b"")
    store.put("jobs/2/y", b"")
    DirStore(root / "jobs" / "1").put("z", b"")  # leaves its own directory of temporaries
    assert store.delete_prefix("jobs/1/") == 2
    assert os.listdir(root / "jobs") == ["2"]
    store.delete("jobs/2/y")
    assert os.listdir(root) == [".tmp"]
    assert root.is_dir()


def test_writers_survive_deleters_that_prune_their_directory(store: DirStore) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def prune() -> None:
        while not done.is_set():
            store.delete_prefix("d/")

    def write(name: str) -> None:
        try:
            for _ in range(60):
                store.put(f"d/e/{name}", b"x")
                store.put_once(f"d/e/{name}-once", b"x")
        except StoreError as error:
            errors.append(error)

    pruner = threading.Thread(target=prune)
    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(3)]
    for thread in (pruner, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    pruner.join(60)
    assert errors == []


def test_a_reader_keeps_its_bytes_while_they_are_overwritten_or_deleted(store: DirStore) -> None:
    store.put("k", b"1" * (3 << 20))
    chunks = store.read("k")
    first = next(chunks)
    store.put("k", b"2" * (3 << 20))
    store.delete("k")
    assert set(first + b"".join(chunks)) == {ord("1")}


def test_no_descriptor_is_left_open(store: DirStore) -> None:
    store.put("d/k", b"1")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for n in range(20):
        store.put(f"d/k{n}", b"1")
        store.put_once("d/k", b"2")
        store.info("d/none")
        store.read("d/k")
        next(iter(store.list("")))
        with pytest.raises(ObjectMissing):
            store.get("d/none")
        with pytest.raises(StoreError):
            store.put("d/k/below", b"")
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
