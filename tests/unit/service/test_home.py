"""One service for one home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.home import HomeInUse
from service.home import holding


def test_a_home_is_held_once(tmp_path: Path) -> None:
    with (
        holding(tmp_path / "home"),
        pytest.raises(HomeInUse, match=f"pid {os.getpid()}$"),
        holding(tmp_path / "home"),
    ):
        pass


def test_a_home_is_free_again(tmp_path: Path) -> None:
    for _ in range(2):
        with holding(tmp_path):
            pass


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom service.home import holding\n"
        "with holding(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode == -9
    with holding(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
