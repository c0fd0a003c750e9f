"""What runs in a process beside the requests of its application."""

from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync

from service.context import Context

Companion = Callable[[Context], AbstractContextManager[None]]
"""Something such (the reconciler): entered before the first request, left after the last."""


@asynccontextmanager
async def accompanied(context: Context, companions: Sequence[Companion]) -> AsyncIterator[None]:
    """The life of an application with its companions; whatever takes long is told when it ends."""
    with ExitStack() as stack:
        for companion in companions:
            await run_sync(stack.enter_context, companion(context))
        try:
            yield
        finally:
            context.stopping.set()
            context.checks.shutdown(wait=False, cancel_futures=True)
            await run_sync(stack.close)
