"""The trials of alpha_base that were made, kept in the job's store: a job that is cut does not make them again.

A search takes up to seven whole trainings. Without the notes a job on machines that are taken away every few hours would
never come to its end; and where a device does not compute the same twice, it could choose another value than the one
that its arm was being trained with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.contract import layout
from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.document import Sha256
from deploy.contract.report import AlphaTrial
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore


class NotedTrials(Document):
    """``alpha-trials.json``."""

    training_sha256: Sha256
    """Of everything that decides the hardened arm's weights but alpha_base; trials of another training are none."""
    trials: tuple[AlphaTrial, ...]
    """In the order in which they were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialNotes:
    """Notes of one job, over all its attempts."""

    store: ObjectStore
    job_id: str
    attempt: int
    pod: str
    training_sha256: Sha256

    def write(self, trials: Sequence[AlphaTrial]) -> None:
        """Note all trials that are known.

        Raises:
            StoreError: the store.
        """
        noted = NotedTrials(training_sha256=self.training_sha256, trials=tuple(trials))
        key = layout.alpha_trials_key(self.job_id, self.attempt, self.pod)
        self.store.put(key, noted.to_bytes())

    def read(self) -> tuple[AlphaTrial, ...]:
        """The most that any start of the job has noted; none where nobody has.

        Raises:
            StoreError: the store.
        """
        found = self.store.list(layout.attempts_prefix(self.job_id))
        noted = [self._read(info.key) for info in found if info.key.endswith(f"/{layout.ALPHA_TRIALS}")]
        return max(noted, key=len, default=())

    def _read(self, key: str) -> tuple[AlphaTrial, ...]:
        try:
            noted = NotedTrials.from_bytes(self.store.get(key))
        except (DocumentError, ObjectMissing):
            return ()
        return noted.trials if noted.training_sha256 == self.training_sha256 else ()
