import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.process import session

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        SLEEP, start_new_session=True, env={session.TOKEN_VARIABLE: "the-token"}, stdin=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


def mark_of(process: subprocess.Popen[bytes]) -> session.Mark:
    stat = session.read_stat(process.pid)
    assert stat is not None
    return session.Mark(
        boot_id=session.boot_id(), session=stat.session, started=stat.started, token="another-token"
    )


def pids(stats: list[session.ProcessStat]) -> list[int]:
    return [stat.pid for stat in stats]


def test_stat_of_this_process() -> None:
    stat = session.read_stat(os.getpid())
    assert stat is not None
    assert (stat.parent, stat.session, stat.dead) == (os.getppid(), os.getsid(0), False)


def test_stat_reads_past_a_hostile_command_name(tmp_path: Path) -> None:
    program = tmp_path / ") Z 1 ("
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "600"])
    try:
        stat = session.read_stat(process.pid)
        assert stat is not None
        assert (stat.parent, stat.dead) == (os.getpid(), False)
    finally:
        process.kill()
        process.wait()


def test_no_stat_of_a_process_that_is_none() -> None:
    assert session.read_stat(2**22 + 1) is None


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    mark = mark_of(sleeper)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    stat = session.read_stat(sleeper.pid)
    assert stat is not None
    assert stat.dead
    assert session.members(mark) == []


def test_members_by_session(sleeper: subprocess.Popen[bytes]) -> None:
    assert pids(session.members(mark_of(sleeper))) == [sleeper.pid]


def test_members_by_token_alone(sleeper: subprocess.Popen[bytes]) -> None:
    mark = session.Mark(boot_id=session.boot_id(), session=None, started=0, token="the-token")
    deadline = time.monotonic() + 5  # between fork and exec it still has our environment
    while not session.members(mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pids(session.members(mark)) == [sleeper.pid]


def test_no_session_and_no_token_is_nobody() -> None:
    # Kernel threads have session 0: an absent session must never be read as that one.
    assert (
        session.members(session.Mark(boot_id=session.boot_id(), session=None, started=0, token="none")) == []
    )


def test_a_session_number_used_again_is_a_stranger(sleeper: subprocess.Popen[bytes]) -> None:
    mark = mark_of(sleeper)
    assert session.members(replace(mark, started=mark.started - 1)) == []
    assert session.members(replace(mark, started=mark.started + 1)) == []


def test_another_boot_has_nobody_of_ours(sleeper: subprocess.Popen[bytes]) -> None:
    assert session.members(replace(mark_of(sleeper), boot_id="another")) == []


def test_signals_spare_a_process_that_got_the_pid_later(sleeper: subprocess.Popen[bytes]) -> None:
    stat = session.read_stat(sleeper.pid)
    assert stat is not None
    session.send_signal(replace(stat, started=stat.started - 1), 9)
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(0.2)
    session.send_signal(stat, 9)
    assert sleeper.wait(5) == -9


def test_kill_until_gone_kills_what_is_forked_meanwhile() -> None:
    script = "import os, time\nfor _ in range(20):\n    os.fork()\n    time.sleep(0.05)"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", f"{script.replace('20', '4')}\ntime.sleep(600)"], start_new_session=True
    )
    mark = mark_of(process)
    time.sleep(0.1)
    assert session.kill_until_gone(lambda: session.members(mark), timeout_s=10) == []
    assert process.wait(5) == -9
    assert session.members(mark) == []


def test_kill_until_gone_gives_up_and_says_who_is_left() -> None:
    own = session.read_stat(os.getpid())
    assert own is not None
    stranger = replace(own, started=own.started - 1)
    assert session.kill_until_gone(lambda: [stranger], timeout_s=0.05) == [stranger]
