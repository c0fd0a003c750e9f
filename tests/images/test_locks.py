"""The images are built from lock files: they must say what pyproject.toml says, and each wheel by its hash."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {"api": ("api",), "trainer": ("train", "serve-cuda")}
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(\[[a-z0-9, -]+\])?==(\S+)")


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", requirement).lower()


def pins(lines: list[str]) -> dict[str, str]:
    found = (PINNED.match(line) for line in lines)
    return {name_of(match[1]): match[3] for match in found if match}


def locked(lock: str) -> list[str]:
    """The requirements of a lock, each with its hashes on one line."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("lock", LOCKS)
def test_m3_a_lock_says_what_the_project_says(lock: str) -> None:
    extras = (PROJECT["optional-dependencies"][extra] for extra in LOCKS[lock])
    asked = pins(PROJECT["dependencies"] + [line for extra in extras for line in extra])
    known = pins(locked(lock))

    assert asked
    assert {name: known.get(name) for name in asked} == asked, "run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_m3_every_wheel_of_a_lock_is_named_by_its_hash(lock: str) -> None:
    lines = [line for line in locked(lock) if line.strip()]

    assert len(lines) > 20
    assert [line[:60] for line in lines if not PINNED.match(line) or "--hash=sha256:" not in line] == []


def test_m2_the_api_has_no_torch() -> None:
    assert pins(locked("api")).keys().isdisjoint({"torch", "transformers", "vllm", "numpy"})


def stages() -> dict[str, list[str]]:
    """Instructions of the Dockerfile by the stage's name."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        start = re.match(r"FROM \S+ AS (\S+)", line)
        if start:
            found[start[1]] = [line]
        elif found and line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


@pytest.mark.parametrize("target", ["api", "trainer"])
def test_an_image_runs_without_rights_and_starts_from_nothing_that_builds(target: str) -> None:
    instructions = stages()[target]

    assert instructions[0] == f"FROM python AS {target}"
    assert "USER 10001:10001" in instructions
    assert [line for line in instructions if line.startswith("COPY")] == [
        f"COPY --from={target}-dependencies /opt/temper /opt/temper",
        f"COPY --from=project /opt/{target} /opt/project",
    ]


def test_m3_every_requirement_of_the_project_is_one_version() -> None:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    exact = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9, -]+\])?==[A-Za-z0-9.+!]+(; .+)?")
    assert [line for line in PROJECT["dependencies"] + extras if not exact.fullmatch(line)] == []


def test_m3_no_workflow_of_others_runs_by_a_name_that_can_move() -> None:
    """Actions of others are named by their commit; at present there are none."""
    workflows = [*ROOT.glob(".github/workflows/*.y*ml"), *ROOT.glob(".gitlab-ci.yml"), *ROOT.glob(".ci/*")]
    assert workflows
    used = [line for path in workflows for line in re.findall(r"uses:\s*(\S+)", path.read_text())]
    assert [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)] == []
