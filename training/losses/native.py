"""The native CPU kernel: ``rows.c``, compiled once a machine with the C compiler at hand, called through ctypes.

One C file and no build step: no Python or torch headers, nothing to link, half a second. Where there is no
compiler the plain torch rows take over and :func:`unavailable` says why. The shared object lies in the
user's cache under a name that depends on the source, the compiler and the processor, so that neither an
update nor a home directory shared between machines can load the wrong one.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from training.losses.dece import DeceRows
from training.losses.row import RowResult

SOURCE = Path(__file__).with_name("rows.c")
FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-shared",
    "-fPIC",
)
COMPILERS = ("cc", "gcc", "clang")
COMPILE_TIMEOUT_S = 120.0
ROWS_PER_TASK = 16
"""Fewer are not worth handing to another thread."""


class KernelUnavailable(RuntimeError):  # noqa: N818
    """A kernel cannot be had on this machine or for this device; the message says why."""


def _compiler() -> str:
    for name in filter(None, (os.environ.get("CC"), *COMPILERS)):
        found = shutil.which(name)
        if found:
            return found
    raise KernelUnavailable(f"no C compiler found (looked for $CC, {', '.join(COMPILERS)})")


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _cache() -> Path:
    """The user's directory of kernels, made; a private temporary one where it cannot be had or is not ours alone.

    Raises:
        OSError: not even a temporary one can be made.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        directory = Path(base) / "temper" / "kernels"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(directory, os.W_OK):
            return directory
    except (OSError, RuntimeError):  # RuntimeError: a container's user may have no home at all
        pass
    return Path(tempfile.mkdtemp(prefix="temper-kernels-"))


def _compile(compiler: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / "rows.so"
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(built), "-lm"]
        try:
            done = subprocess.run(  # noqa: S603 - the compiler of this machine, our own source
                command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernelUnavailable(f"{compiler} did not run: {error}") from error
        if done.returncode != 0:
            raise KernelUnavailable(f"{compiler} failed: {done.stderr.strip()[-500:]}")
        # Half a library would end the process that loads it: all of it is on the disk before it has its name.
        with built.open("rb") as written:
            os.fsync(written.fileno())
        # Whoever compiles at the same time writes the same bytes; the last rename wins.
        built.replace(target)


def _load(compiler: str, target: Path) -> ctypes.CDLL:
    """The kernel in the cache; compiled where there is none, or where a crash left an empty one."""
    if target.exists():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(target))
    _compile(compiler, target)
    return ctypes.CDLL(str(target))


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The loaded kernel, or why there is none; asked once a process."""
    try:
        compiler = _compiler()
        parts = (SOURCE.read_text(), compiler, *FLAGS, _processor(), platform.machine())
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
        target = _cache() / f"rows-{name}.so"
        library = _load(compiler, target)
    except (KernelUnavailable, OSError) as error:
        return str(error)
    pointer, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    library.temper_dece_rows.argtypes = [
        *(pointer, number, number, pointer, pointer),
        *(real, real, real, real, ctypes.c_int),
        *(pointer, pointer, pointer),
    ]
    library.temper_dece_rows.restype = None
    return library


def unavailable() -> str | None:
    """Why the native kernel cannot be used on this machine; None where it can."""
    library = _library()
    return library if isinstance(library, str) else None


@functools.cache
def _threads(count: int, pid: int) -> ThreadPoolExecutor:
    del pid  # a forked child has none of its parent's threads
    return ThreadPoolExecutor(count, thread_name_prefix="dece-rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeDeceRows(DeceRows):
    """DeCE at one blending weight on the CPU, in C; fp64 and the clamp without blending stay with torch."""

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`.

        Raises:
            KernelUnavailable: there is no kernel on this machine.
        """
        blend = self.blend(logits_NV.shape[1])
        clamped_alone = blend.floor > 0.0 and not blend.blended
        if logits_NV.dtype != torch.float32 or logits_NV.device.type != "cpu" or clamped_alone:
            return DeceRows.rows_(self, logits_NV, targets_N, scale_N)
        library = _library()
        if isinstance(library, str):
            raise KernelUnavailable(library)
        if not logits_NV.is_contiguous():
            raise ValueError("the rows of logits must be contiguous")
        count, classes = logits_NV.shape
        targets_N, scale_N = targets_N.contiguous(), scale_N.to(torch.float32).contiguous()
        outputs = torch.empty(3, count, dtype=torch.float32, device="cpu")

        def some(start: int, end: int) -> None:
            library.temper_dece_rows(
                logits_NV[start:end].data_ptr(),
                end - start,
                classes,
                targets_N[start:end].data_ptr(),
                scale_N[start:end].data_ptr(),
                blend.alpha,
                blend.on,
                blend.off,
                blend.floor,
                int(blend.blended),
                *(outputs[index, start:end].data_ptr() for index in range(3)),
            )

        _share_out(some, count)
        return RowResult(loss=outputs[0], pull=outputs[1], others=outputs[2])


def _share_out(work: Callable[[int, int], None], count: int) -> None:
    """Call ``work`` with ranges that cover ``count`` rows, on as many threads as torch may use."""
    threads = min(torch.get_num_threads(), max(1, count // ROWS_PER_TASK))
    if threads == 1:
        work(0, count)
        return
    bounds = [count * index // threads for index in range(threads + 1)]
    pool = _threads(torch.get_num_threads(), os.getpid())
    # ctypes gives the interpreter up while C runs, so threads are enough; list() hands on an exception.
    list(pool.map(work, bounds[:-1], bounds[1:]))
