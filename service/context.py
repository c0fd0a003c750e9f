"""What one service process is made of, and how an endpoint gets at it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import field
from typing import Annotated
from typing import Final
from typing import cast

from anyio import CapacityLimiter
from fastapi import Depends
from fastapi import Request
from sqlalchemy.orm import Session

from deploy.store.protocol import ObjectStore
from service.audit.entry import write_with_change
from service.clock import Clock
from service.clock import SystemClock
from service.database import Database
from service.heartbeat import Heartbeats
from service.leftovers import Leftovers
from service.metrics import Metrics
from service.projects.lookup import KnownKeys
from service.settings import Settings

MAX_TRANSFERS: Final = 16
"""Uploads at once; each holds a thread, and they must not starve the other endpoints of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts of one process; built in ``main``, passed down, never a global."""

    settings: Settings
    database: Database
    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    transfers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(MAX_TRANSFERS))
    checks: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="model-check")
    )
    """Checks base models, one after the other: a check may read many gigabytes."""
    known_keys: KnownKeys = field(default_factory=KnownKeys)
    """Who held which API key a moment ago."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process is about to end; whatever takes long looks at it."""

    @property
    def leftovers(self) -> Leftovers:
        """The note of objects whose fate is not decided yet."""
        return Leftovers(self.database)


def context_of(request: Request) -> Context:
    """The context of the app that got a request."""
    return cast(Context, request.app.state.context)


ContextDep = Annotated[Context, Depends(context_of)]


def _reading(context: ContextDep) -> Iterator[Session]:
    with context.database.reading() as session:
        yield session


def _writing(request: Request, context: ContextDep) -> Iterator[Session]:
    with context.database.writing() as session:
        yield session
        write_with_change(session, request.scope)


# Scope "function": the transaction ends before the first byte of the answer is sent, so no client
# ever sees a 2xx for something that was not committed.
Reading = Annotated[Session, Depends(_reading, scope="function")]
"""One read-only transaction for the whole request."""
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""One transaction for the whole request, committed before the answer is sent."""
