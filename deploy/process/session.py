"""Which processes belong to a supervised child, and how to end them all. Standard library only.

A child runs in a session of its own, and its environment carries a token. Whoever is in the session, whoever
carries the token and whoever descends from a living supervisor belongs to it: a session alone would miss
what calls ``setsid`` (inductor's compile workers do), a token alone would miss what overwrites its
environment (vLLM's engine does, to set its title).

Without ``/proc`` (macOS) only the session's process group can be signalled.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TOKEN_VARIABLE: Final = "TEMPER_PROCESS_TOKEN"  # noqa: S105 - a name, and the token is no secret
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    """One line of ``/proc/{pid}/stat``."""

    pid: int
    parent: int
    session: int
    dead: bool
    """A zombie: nothing runs any more, somebody has yet to wait for it."""
    started: int
    """Clock ticks since boot. With the pid it names a process for good: pids are used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is recorded of a child so that its processes can be told from strangers later."""

    boot_id: str
    session: int | None
    """None when it was lost before its session was recorded: the token has to do alone."""
    started: int
    """Of the session's leader."""
    token: str


def read_stat(pid: int) -> ProcessStat | None:
    """What the kernel says of a process; None when there is none, or no ``/proc``."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name stands in parentheses and may hold any character, parentheses included.
    fields = text.rpartition(")")[2].split()
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        dead=fields[0] in "ZX",
        started=int(fields[19]),
    )


def all_stats() -> Iterator[ProcessStat]:
    """Every process this one can see; none where there is no ``/proc``."""
    names = os.listdir(PROC) if PROC.is_dir() else []
    for name in names:
        if name.isdecimal() and (stat := read_stat(int(name))) is not None:
            yield stat


def boot_id() -> str:
    """Names this run of the machine; empty where the kernel does not say."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def members(mark: Mark) -> list[ProcessStat]:
    """Living processes that belong to ``mark``, never this one.

    A session whose leader started at another time is another session that got the same number: the kernel
    gives a number out again only when the old session is empty.
    """
    if mark.boot_id != boot_id():
        return []
    stats = {stat.pid: stat for stat in all_stats()}
    leader = stats.get(mark.session) if mark.session is not None else None
    ours = mark.session is not None and (leader is None or leader.started == mark.started)
    return [
        stat
        for stat in stats.values()
        if not stat.dead
        and stat.pid != os.getpid()
        and (
            (ours and stat.session == mark.session and stat.started >= mark.started)
            or _carries(stat, mark.token)
        )
    ]


def descendants(pid: int) -> list[ProcessStat]:
    """Living processes whose chain of parents leads to ``pid``."""
    stats = list(all_stats())
    found: dict[int, ProcessStat] = {}
    layer = {pid}
    while layer:
        children = {stat.pid: stat for stat in stats if stat.parent in layer and stat.pid not in found}
        found |= children
        layer = set(children)
    return [stat for stat in found.values() if not stat.dead]


def send_signal(stat: ProcessStat, number: int) -> None:
    """Signal exactly this process: one that got its pid since then is left alone."""
    try:
        handle = os.pidfd_open(stat.pid)
    except OSError:  # gone
        return
    try:
        now = read_stat(stat.pid)
        if now is not None and now.started == stat.started:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(handle)


def kill_until_gone(
    find: Callable[[], list[ProcessStat]], *, timeout_s: float, reap: Callable[[], None] = lambda: None
) -> list[ProcessStat]:
    """SIGKILL whatever ``find`` returns, again and again, until it returns nothing or the time is up.

    Again, because a process may fork between being found and being killed. Returns what is left.
    """
    limit = time.monotonic() + timeout_s
    while left := find():
        for stat in left:
            send_signal(stat, signal.SIGKILL)
        if time.monotonic() > limit:
            return left
        time.sleep(_POLL_S)
        reap()
    return []


def kill_group(group: int) -> None:
    """SIGKILL a process group: all that can be done where there is no ``/proc``."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _carries(stat: ProcessStat, token: str) -> bool:
    try:
        environment = (PROC / str(stat.pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"{TOKEN_VARIABLE}={token}".encode() in environment.split(b"\0")
