"""Runs the tests of rows in one pytest and tells what became of each. Decides which can run here at all."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from tests.matrix.named_tests import NamedTest
from tests.matrix.named_tests import row_of

ROOT: Final = Path(__file__).parent.parent.parent
_TEST_TIMEOUT_S: Final = 3600
_OUTCOMES: Final = {"failure": "failed", "error": "failed", "skipped": "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one test, or of one set of its parameters."""

    row: str
    test: str
    outcome: str
    """passed, failed or skipped."""
    why: str


def lacking() -> dict[str, str]:
    """Marks of tests that cannot run on this machine, and why."""
    found = {}
    if not os.environ.get("KUBECONFIG"):
        found["cluster"] = "KUBECONFIG names no cluster"
    if not any(shutil.which(engine) for engine in ("docker", "podman")):
        found["images"] = "there is no container engine"
    if not shutil.which("nvidia-smi"):
        found["gpu"] = "there is no NVIDIA GPU"
    return found


def not_here(test: NamedTest) -> str:
    """Why ``test`` cannot run on this machine; empty where it can."""
    return next((why for mark, why in lacking().items() if mark in test.marks), "")


def run(tests: Sequence[NamedTest], record: Path) -> list[Result]:
    """Runs ``tests`` side by side, whatever their lanes; the record in JUnit's form stays at ``record``.

    Raises:
        RuntimeError: pytest could not run them, and said why itself.
    """
    record.unlink(missing_ok=True)
    # A single set of parameters, too, may carry a mark.
    able = " and ".join(f"not {mark}" for mark in lacking())
    command = [sys.executable, "-m", "pytest", *sorted({test.node for test in tests}), "-m", able, "-q"]
    parallel = ["-n", "logical", "--maxprocesses", "8", "--dist", "worksteal"]
    limits = ["--timeout", str(_TEST_TIMEOUT_S), f"--junitxml={record}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run([*command, *parallel, *limits], cwd=ROOT, env=environment, check=False)
    if ended.returncode > 1 or not record.exists():
        raise RuntimeError(f"pytest ended with {ended.returncode}")
    return read_record(record.read_text())


def read_record(text: str) -> list[Result]:
    """The results in a record of pytest's, of those tests that name a row."""
    found = []
    for case in ElementTree.fromstring(text).iter("testcase"):  # noqa: S314 - pytest has just written it
        name = case.get("name", "")
        if row := row_of(name):
            outcome, why = _outcome(case)
            found.append(Result(row=row, test=name, outcome=outcome, why=why))
    return found


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    for part in case:
        if part.tag in _OUTCOMES:
            return _OUTCOMES[part.tag], part.get("message", "").strip().partition("\n")[0]
    return "passed", ""


def summed(results: Sequence[Result]) -> Mapping[str, tuple[str, str]]:
    """The outcome of each row and why: failed if anything did, passed if something was run and nothing failed."""
    order = ("skipped", "passed", "failed")
    found: dict[str, tuple[str, str]] = {}
    for result in results:
        before = found.get(result.row, ("skipped", ""))
        if order.index(result.outcome) >= order.index(before[0]):
            why = f"{result.test}: {result.why}" if result.outcome == "failed" else result.why
            found[result.row] = (result.outcome, why)
    return found
