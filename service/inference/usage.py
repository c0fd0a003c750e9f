"""Notes in the database that endpoints are in use, so that none falls asleep under a request.

Writes once in some seconds for each endpoint, however many requests and APIs there are. The first of
them comes before its request is sent on: from then on the endpoint stays awake for as long as it is noted.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.database import Database
from service.endpoints import fleet
from service.errors import TooMany
from service.inference.patience import Patience

logger = logging.getLogger(__name__)
AT_ONCE: Final = Patience().at_once
NOTE_S: Final = 5
"""Between two notes of one endpoint; a small part of the shortest ``idle_s``."""


class Usage:
    """What one process knows of its requests. The event loop's, but for :meth:`note_first`."""

    def __init__(
        self,
        database: Database,
        *,
        at_once: int = AT_ONCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._at_once = at_once
        self._monotonic = monotonic
        self._going_on: Counter[str] = Counter()
        self._used: set[str] = set()
        self._noted_at: dict[str, float] = {}

    @contextmanager
    def going_on(self, endpoint_id: str) -> Iterator[None]:
        """A request of an endpoint, from when it is sent to the end of its answer."""
        self.begin(endpoint_id)
        try:
            yield
        finally:
            self.end(endpoint_id)

    def begin(self, endpoint_id: str) -> None:
        """A request is sent. Raises TooMany when so many of the endpoint's are under way that it would only wait."""
        if self._going_on[endpoint_id] >= self._at_once:
            raise TooMany(
                f"The model's server has {self._at_once} requests under way; send this one again.",
                code="endpoint_requests_at_once_exceeded",
                headers={"retry-after": "1"},
            )
        self._going_on[endpoint_id] += 1

    def end(self, endpoint_id: str) -> None:
        """Its answer has ended."""
        self._going_on[endpoint_id] -= 1
        if self._going_on[endpoint_id] <= 0:
            del self._going_on[endpoint_id]
        self._used.add(endpoint_id)

    def is_noted(self, endpoint_id: str) -> bool:
        """Whether it was noted a moment ago: then nothing has to be written before a request."""
        return self._monotonic() - self._noted_at.get(endpoint_id, -NOTE_S) < NOTE_S

    def note_first(self, session: Session, endpoint_id: str) -> None:
        """Note an endpoint in the caller's transaction, which commits before the request is sent."""
        fleet.touch(session, [endpoint_id], unless_within_s=NOTE_S)
        self._noted_at[endpoint_id] = self._monotonic()

    async def keep_noting(self) -> None:
        """Note what goes on and what has ended, again and again until cancelled."""
        while True:
            await asyncio.sleep(NOTE_S)
            await self.note()

    async def note(self) -> None:
        """Note once. A database that fails now is told a little later."""
        using = set(self._going_on) | self._used
        self._noted_at = {known: at for known, at in list(self._noted_at.items()) if self.is_noted(known)}
        if not using:
            return
        try:
            await run_sync(self._touch, using)
        except SQLAlchemyError as error:
            logger.warning("the use of %d endpoints could not be noted: %s", len(using), type(error).__name__)
        else:
            self._used -= using - set(self._going_on)

    def _touch(self, endpoint_ids: set[str]) -> None:
        # Not where it was noted a moment ago, by whichever process.
        with self._database.writing() as session:
            fleet.touch(session, endpoint_ids, unless_within_s=NOTE_S - 1)
