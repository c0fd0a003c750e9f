"""Trials of alpha_base outlive the start that made them, and are those of one training alone."""

from pathlib import Path

import pytest

from deploy.contract import layout
from deploy.contract.report import AlphaTrial
from deploy.contract.report import Hits
from deploy.store.directory import DirStore
from training.trial_notes import TrialNotes

JOB = "ftjob-abc"
TRIALS = tuple(
    AlphaTrial(alpha_base=alpha_base, canaries=Hits(hits=9 - index, trials=10), held=False)
    for index, alpha_base in enumerate((0.99, 0.97, 0.95))
)


def notes(store: DirStore, *, attempt: int = 1, pod: str = "a", sha256: str = "f" * 64) -> TrialNotes:
    return TrialNotes(store=store, job_id=JOB, attempt=attempt, pod=pod, training_sha256=sha256)


@pytest.fixture
def store(tmp_path: Path) -> DirStore:
    return DirStore(tmp_path)


def test_a_later_attempt_knows_the_most_that_was_made(store: DirStore) -> None:
    assert notes(store).read() == ()
    notes(store).write(TRIALS[:2])
    notes(store, attempt=2, pod="b").write(TRIALS)
    notes(store, attempt=3, pod="c").write(TRIALS[:1])
    assert notes(store, attempt=4, pod="d").read() == TRIALS


def test_trials_of_another_training_are_none(store: DirStore) -> None:
    notes(store).write(TRIALS)
    assert notes(store, sha256="e" * 64).read() == ()


@pytest.mark.parametrize("data", [b"", b"null", b"{", b'{"training_sha256": "", "trials": []}'])
def test_notes_that_cannot_be_read_are_none(store: DirStore, data: bytes) -> None:
    notes(store).write(TRIALS[:1])
    store.put(layout.alpha_trials_key(JOB, 2, "b"), data)
    assert notes(store, attempt=3).read() == TRIALS[:1]
