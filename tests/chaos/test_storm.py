"""Chaos for less than a minute, and its teeth. ``make chaos`` is the long one."""

from pathlib import Path

import pytest
from postgresql_server import WHY_NOT
from postgresql_server import binaries

from tests.chaos.faults import Faults
from tests.chaos.parts import CREDENTIALS
from tests.chaos.storm import storm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(binaries() is None, reason=WHY_NOT),
]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm sets the credentials of this process."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_h4_everything_fails_at_random_and_no_promise_is_broken(tmp_path: Path) -> None:
    verdict = storm(tmp_path, minutes=0.6, seed=7, pause_s=3.0)
    assert verdict.broken == {}, verdict.details
    assert verdict.submissions >= 5
    assert sum(verdict.faults.values()) >= 10
    assert verdict.succeeded


def test_e15_chaos_notices_what_is_off(tmp_path: Path) -> None:
    off = "hashes, conditional-put"
    verdict = storm(tmp_path, minutes=0.3, seed=1, off=off, pause_s=1.0, kinds=(Faults.start_job_twice,))
    assert {"unverified", "results_written_over"} <= verdict.broken.keys()
