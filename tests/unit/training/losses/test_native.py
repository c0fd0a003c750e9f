"""The C kernel's life on a machine: compiled once, cached, shared, absent; equal on any number of threads."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from loss_formulas import random_rows

from training.losses import dece
from training.losses import native
from training.losses.native import KernelUnavailable
from training.losses.native import NativeDeceRows
from training.losses.row import RowResult


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has not asked for the kernel yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._library.cache_clear()
    yield tmp_path / "cache" / "temper" / "kernels"
    native._library.cache_clear()


def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "compiler") -> Path:
    """A stand-in for the C compiler: ``script``, for sh. It notes every call in ``calls``."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    return path


def calls(tmp_path: Path) -> int:
    noted = tmp_path / "calls"
    return len(noted.read_text().splitlines()) if noted.exists() else 0


def run(count: int = 5, classes: int = 33) -> tuple[RowResult, torch.Tensor]:
    logits, targets = random_rows(1, count=count, classes=classes)
    result = NativeDeceRows(alpha=0.9, label_smoothing=0.1).rows_(logits, targets, torch.ones(count))
    return result, logits


def ready() -> None:
    assert native.unavailable() is None
    assert torch.isfinite(run()[1]).all()


def test_it_is_compiled_once_a_machine_and_then_loaded_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, monkeypatch, 'exec cc "$@"')
    ready()
    (built,) = cache.iterdir()
    assert built.suffix == ".so"
    assert calls(tmp_path) == 1
    ready()  # same process
    native._library.cache_clear()
    ready()  # another process
    assert calls(tmp_path) == 1
    assert list(cache.iterdir()) == [built]


def test_another_source_or_compiler_is_another_kernel(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, monkeypatch, 'exec cc "$@"')
    ready()
    edited = tmp_path / "rows.c"
    edited.write_text(native.SOURCE.read_text() + "\n/* edited */\n")
    monkeypatch.setattr(native, "SOURCE", edited)
    native._library.cache_clear()
    ready()
    compiler(tmp_path, monkeypatch, 'exec cc "$@"', name="other-compiler")
    native._library.cache_clear()
    ready()
    assert calls(tmp_path) == 3
    assert len(list(cache.iterdir())) == 3


def test_what_a_crash_left_in_the_cache_is_compiled_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, monkeypatch, 'exec cc "$@"')
    ready()
    (built,) = cache.iterdir()
    # In another directory: a path that this process has loaded is not looked at again.
    empty = tmp_path / "other" / "temper" / "kernels" / built.name
    empty.parent.mkdir(parents=True, mode=0o700)
    empty.write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    native._library.cache_clear()
    ready()
    assert calls(tmp_path) == 2
    assert empty.stat().st_size == built.stat().st_size


def test_without_a_compiler_it_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "no-such-compiler")
    reason = native.unavailable()
    assert reason == "no C compiler found (looked for $CC, cc, gcc, clang)"
    assert not cache.exists()
    with pytest.raises(KernelUnavailable, match="no C compiler found"):
        run()


def test_a_nonsense_cc_is_passed_over_where_there_is_another(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    ready()
    assert cache.exists()


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("echo rows.c: no float today >&2; exit 1", "failed: rows.c: no float today"),
        ("sleep 30", "did not run: .*timed out after 0.2"),
        ("exit 0", "No such file"),
        (
            """while [ "$1" != -o ]; do shift; done; echo rubbish > "$2" """,
            "file too short|invalid ELF header",
        ),
    ],
    ids=["fails", "hangs", "writes nothing", "writes rubbish"],
)
def test_a_compiler_that_fails_is_a_reason_not_an_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, named: str
) -> None:
    if "sleep" in script:
        monkeypatch.setattr(native, "COMPILE_TIMEOUT_S", 0.2)
        script = "exec sleep 30"
    compiler(tmp_path, monkeypatch, script)
    reason = native.unavailable()
    assert reason is not None
    with pytest.raises(KernelUnavailable, match=named):
        run()
    assert calls(tmp_path) == 1  # asked once a process
    assert [one for one in cache.iterdir() if one.is_dir()] == []  # the scratch directory is gone


def test_a_compiler_that_is_no_program_is_a_reason(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "compiler"
    path.write_bytes(b"\x7fnot a program")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    assert "did not run" in str(native.unavailable())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories go."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def test_where_the_cache_cannot_be_made_a_private_directory_serves(
    cache: Path, tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    ready()
    (private,) = temporary.iterdir()
    assert private.stat().st_mode & 0o077 == 0
    assert [one.suffix for one in private.iterdir()] == [".so"]
    assert not cache.exists()


def test_a_cache_that_others_may_write_is_not_trusted(cache: Path, temporary: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o770)
    ready()
    assert list(cache.iterdir()) == []
    assert len(list(temporary.iterdir())) == 1


def test_a_user_without_a_home_has_a_kernel_too(
    cache: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(native.Path, "home", no_home)
    ready()
    assert not cache.exists()
    assert len(list(temporary.iterdir())) == 1


def test_where_nothing_can_be_written_it_says_so(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert "missing" in str(native.unavailable())
    assert not cache.exists()


TWO_THREADS_THEN_A_FORK = """
import os, signal, sys, torch
from training.losses.native import NativeDeceRows, unavailable
torch.set_num_threads(2)
def run():
    logits = torch.linspace(-3, 3, 64 * 50).reshape(64, 50).clone()
    rows = NativeDeceRows(alpha=0.9, label_smoothing=0.1)
    return rows.rows_(logits, torch.arange(64) % 50, torch.ones(64)).loss.sum().item()
assert unavailable() is None, unavailable()
loss = run()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if run() == loss else 1)
assert os.waitpid(child, 0)[1] == 0
print(loss)
"""


def test_two_processes_may_compile_at_the_same_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits in its compiler until both are there. Each then forks, as a data loader would."""
    compiler(
        tmp_path,
        monkeypatch,
        f'for i in $(seq 600); do [ "$(wc -l < {tmp_path}/calls)" -ge 2 ] && break; sleep 0.1; done; exec cc "$@"',
    )
    command = [sys.executable, "-W", "error", "-c", TWO_THREADS_THEN_A_FORK]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    finished = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], finished
    assert finished[0][0] == finished[1][0]
    assert calls(tmp_path) == 2
    assert [one.suffix for one in cache.iterdir()] == [".so"]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 15, 16, 31, 33, 47, 100])
def test_i4_threads_change_nothing(count: int) -> None:
    torch.set_num_threads(1)
    alone, gradient = run(count)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        shared, shared_gradient = run(count)
        assert torch.equal(shared_gradient, gradient)
        for name in ("loss", "pull", "others"):
            assert torch.equal(getattr(shared, name), getattr(alone, name))


@pytest.mark.usefixtures("threads")
def test_rows_are_shared_out_without_a_gap() -> None:
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        for count in (0, 1, 31, 32, 33, 1000):
            ranges: list[tuple[int, int]] = []
            native._share_out(lambda start, end, into=ranges: into.append((start, end)), count)
            ranges.sort()
            assert ranges[0][0] == 0
            assert ranges[-1][1] == count
            assert all(end == start for (_, end), (start, _) in pairwise(ranges))
            assert len(ranges) == min(threads, max(1, count // native.ROWS_PER_TASK))


def test_no_rows_are_no_losses() -> None:
    result, gradient = run(0)
    assert result.loss.shape == (0,)
    assert gradient.shape == (0, 33)


def test_rows_that_are_not_contiguous_are_refused() -> None:
    logits = torch.zeros(9, 4).t()
    with pytest.raises(ValueError, match="contiguous"):
        NativeDeceRows(alpha=0.9, label_smoothing=0.1).rows_(
            logits, torch.zeros(4, dtype=torch.long), torch.ones(4)
        )


def test_targets_and_scales_may_lie_apart_in_memory() -> None:
    logits, targets = random_rows(3, count=6)
    apart = torch.stack([targets, torch.zeros_like(targets)], dim=1)[:, 0]
    scale = torch.linspace(0.0, 1.0, 12)[::2]
    row = NativeDeceRows(alpha=0.9, label_smoothing=0.1)
    ours, expected = logits.clone(), logits.clone()
    row.rows_(ours, apart, scale)
    row.rows_(expected, targets, scale.contiguous())
    assert torch.equal(ours, expected)


def test_fp64_and_the_clamp_without_blending_stay_with_torch(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    logits, targets = random_rows(3)
    scale = torch.ones(len(targets))
    NativeDeceRows(alpha=0.9, label_smoothing=0.1).rows_(logits.double(), targets, scale.double())
    NativeDeceRows(alpha=1.0, label_smoothing=0.1, mode="parity").rows_(logits, targets, scale)
    with pytest.raises(KernelUnavailable):
        NativeDeceRows(alpha=1.0, label_smoothing=0.1).rows_(logits, targets, scale)
    assert not cache.exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_another_default_dtype_changes_nothing(dtype: torch.dtype) -> None:
    """Loading a model sets the default dtype: memory taken in it would be too small for the kernel's fp32."""
    logits, targets = random_rows(4, count=50)
    expected = dece(logits, targets, alpha=0.9, backend="native", reduction="none")
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device("meta"):
            rows = dece(logits, targets, alpha=0.9, backend="native", reduction="none")
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(rows, expected)
