"""Evidence that is asked for anew: of models that older versions made, or after the key was changed.

Whoever asks puts an object into the store (:mod:`service.evidence.requests`); the result is then hashed again from its
first byte, as if the job had just ended, and nothing is signed that was not.
"""

import logging
import time
from functools import partial
from typing import Final

from deploy.evidence.error import NotVerified
from deploy.store.protocol import ObjectMissing
from service.context import Context
from service.evidence.issuing import issue
from service.evidence.keyring import Keyring
from service.evidence.origin import Origin
from service.evidence.origin import image_of
from service.evidence.published_keys import publish_keys
from service.evidence.requests import forget_request
from service.evidence.requests import requests
from service.jobs.verification import verify_result
from service.reconcile.background import Background
from service.work.stored import BadResult

logger = logging.getLogger(__name__)
EVERY_S: Final = 5.0
AT_ONCE: Final = 4
"""Each reads the weights of a model."""


class EvidenceTicks:
    """Publishes the keys once, and issues what is asked for."""

    def __init__(self, context: Context, keyring: Keyring, background: Background) -> None:
        self._context = context
        self._keyring = keyring
        self._background = background
        self._next_at = 0.0
        self._published = False
        self._going: set[str] = set()

    def tick(self) -> int:
        """Look and act once. Returns how many actions there were."""
        self._collect()
        if time.monotonic() < self._next_at:
            return 0
        self._next_at = time.monotonic() + EVERY_S
        self._background.submit(("evidence", "requests"), self._look)
        return 0

    def _collect(self) -> None:
        asked = self._background.outcome(("evidence", "requests"))
        if asked is not None:
            self._background.forget(("evidence", "requests"))
            for job_id in asked:
                if len(self._going) < AT_ONCE and job_id not in self._going:
                    self._going.add(job_id)
                    self._background.submit(("evidence", job_id), partial(self._issue, job_id))
        for job_id in sorted(self._going):
            if self._background.outcome(("evidence", job_id)) is not None:
                self._background.forget(("evidence", job_id))
                self._going.discard(job_id)

    def _look(self) -> list[str]:
        store = self._context.store
        if not self._published:
            publish_keys(store, self._keyring)
            self._published = True
        return requests(store, at_most=2 * AT_ONCE)

    def _issue(self, job_id: str) -> bool:
        store = self._context.store
        try:
            verified = verify_result(store, job_id)
            issue(
                store,
                Origin(verified=verified, image=image_of(self._context.settings)),
                self._keyring.signing,
            )
        except (BadResult, ObjectMissing, NotVerified) as error:
            logger.error("%s gets no evidence: %s", job_id, error)
        forget_request(store, job_id)
        return True
