"""The lifecycle state machine: histories of submissions, runs, faults and restored databases, checked against the promises."""

import pytest

from tests.lifecycle.conftest import MakeWorld
from tests.lifecycle.machine import explore


def test_e15_every_short_history_keeps_the_promises(make_world: MakeWorld) -> None:
    explore(make_world, examples=20, steps=30, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_e15_long_histories_keep_the_promises(make_world: MakeWorld) -> None:
    explore(make_world, examples=60, steps=40)
