"""Answers about tokens, remembered for seconds: a pod asks for many objects with one token."""

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.broker.identity import PodIdentity
from service.broker.identity import Reviewer

KNOWN_S: Final = 30.0
"""A deleted pod's token is good for so long at most, and for what the API server itself remembers: some 10 s."""
REFUSED_S: Final = 5.0
MOST_REMEMBERED: Final = 8192
"""Entries, each of some 500 bytes."""
MOST_TOKEN_CHARS: Final = 8192
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A JSON Web Token; nothing else is worth a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    identity: PodIdentity | None
    until: float


class RememberingReviewer:
    """A Reviewer that asks another one, and again only when its answer is old. Keeps digests, never tokens."""

    def __init__(self, reviewer: Reviewer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reviewer = reviewer
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def remembers(self, token: str) -> bool:
        """Whether a review of this token costs nothing."""
        return not _may_be(token) or self._recall(_digest(token)) is not None

    def review(self, token: str) -> PodIdentity | None:
        """The pod that a token was given to; see the protocol. A question without an answer is not remembered."""
        if not _may_be(token):
            return None
        digest = _digest(token)
        known = self._recall(digest)
        if known is None:
            identity = self._reviewer.review(token)
            lasts_s = REFUSED_S if identity is None else KNOWN_S
            known = _Known(identity=identity, until=self._monotonic() + lasts_s)
            with self._lock:
                self._known[digest] = known
                self._known.move_to_end(digest)
                while len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return known.identity

    def _recall(self, digest: bytes) -> _Known | None:
        with self._lock:
            known = self._known.get(digest)
            if known is not None and known.until <= self._monotonic():
                del self._known[digest]
                return None
            return known


def _may_be(token: str) -> bool:
    return len(token) <= MOST_TOKEN_CHARS and _TOKEN.fullmatch(token) is not None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
