"""What one service process is made of, and how an endpoint gets at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Annotated
from typing import cast

from fastapi import Depends
from fastapi import Request
from sqlalchemy.orm import Session

from deploy.store.protocol import ObjectStore
from service.clock import Clock
from service.clock import SystemClock
from service.database import Database
from service.heartbeat import Heartbeats
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts of one process; built in ``main``, passed down, never a global."""

    settings: Settings
    database: Database
    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    heartbeats: Heartbeats = field(default_factory=Heartbeats)


def context_of(request: Request) -> Context:
    """The context of the app that got a request."""
    return cast(Context, request.app.state.context)


ContextDep = Annotated[Context, Depends(context_of)]


def _reading(context: ContextDep) -> Iterator[Session]:
    with context.database.reading() as session:
        yield session


def _writing(context: ContextDep) -> Iterator[Session]:
    with context.database.writing() as session:
        yield session


# Scope "function": the transaction ends before the first byte of the answer is sent, so no client
# ever sees a 2xx for something that was not committed.
Reading = Annotated[Session, Depends(_reading, scope="function")]
"""One read-only transaction for the whole request."""
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""One transaction for the whole request, committed before the answer is sent."""
