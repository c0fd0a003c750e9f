"""The wheel: the same commit gives the same bytes, wherever and whenever it is built."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("service", "training", "deploy", "pyproject.toml", "README.md", "LICENSE")
EPOCH = "1700000000"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The project as it is at this moment."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / part, copy / part)
    return copy


def build(source: Path, place: Path) -> dict[str, str]:
    """SHA-256 of each wheel that is built at ``place``, of files that are all as old as their copies."""
    shutil.copytree(source, place / "source", copy_function=shutil.copyfile)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    ended = subprocess.run(
        [*command, "--wheel-dir", str(place / "dist"), str(place / "source")],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (place / "dist").glob("*.whl")
    }


@pytest.mark.slow
def test_m5_two_builds_give_the_same_wheel(source: Path, tmp_path: Path) -> None:
    first = build(source, tmp_path / "one")
    time.sleep(2.1)  # archives count time in steps of two seconds
    second = build(source, tmp_path / "another" / "place")
    assert len(first) == 1
    assert first == second
