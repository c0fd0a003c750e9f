"""The machine that figures were taken on, and whether it was quiet enough to take any."""

import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from pathlib import Path

import torch

LEAST_CPU_SHARE = 0.9
"""Of the elapsed time. Below it somebody else had this process's core for more than a tenth of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where, with what and when."""

    processor: str
    cores: int
    memory_gib: float
    device: str | None
    """Name of the GPU."""
    python: str
    torch: str
    threads: int
    """That torch may use."""
    date: str
    """UTC, ISO 8601."""


def _line(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def processor() -> str:
    """The CPU's model name and its widest vectors, which decide more than its name."""
    name = _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> Machine:
    """This machine, now."""
    memory = _line("/proc/meminfo", "MemTotal")
    return Machine(
        processor=processor(),
        cores=cores(),
        memory_gib=round(int(memory.split()[0]) / 2**20, 1) if memory else 0.0,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        python=f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load() -> float:
    """Processes that wanted a core, averaged over the last minute."""
    return os.getloadavg()[0]


def overloaded(at: float, *, cores: int) -> bool:
    """Whether more processes wanted a core than there are."""
    return at > cores


def why_busy(loads: list[float], *, cores: int, cpu_share: float) -> str | None:
    """Why figures taken under these loads are not to be trusted; None where they are."""
    worst = max(loads, default=0.0)
    if overloaded(worst, cores=cores):
        return f"the load average reached {worst:.2f} on {cores} cores"
    if cpu_share < LEAST_CPU_SHARE:
        return f"this process had its core for only {100 * cpu_share:.0f} % of the time"
    return None
