"""Bytes of a file that is being received: reserved before the first one, bounded on their way, settled at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from service.answers.once import Claim
from service.context import Context
from service.limits.errors import LimitReached
from service.limits.quotas import Quotas

FORM_BYTES: Final = 2048
"""Of a request's length, what may be of its form: a file that just fits must not be refused for it."""


def quotas_of(context: Context, session: Session, project: str) -> Quotas:
    """The quotas of a project, in a transaction."""
    return Quotas(session, project, context.settings.limits)


@asynccontextmanager
async def reserved(
    context: Context, project: str, file_id: str, declared: int, once: Claim
) -> AsyncIterator[int | None]:
    """Reserve what is declared until the block ends or :meth:`Quotas.settle_bytes` was committed in it.

    ``declared`` is the request's length. Yields how many bytes there is room for; None where there is no limit, or nothing new is stored in the end.

    Raises:
        LimitReached: there is no room for what is declared.
    """
    declared = max(declared - FORM_BYTES, 0)
    room = await run_sync(_reserve, context, project, file_id, declared, once)
    try:
        yield room
    except Exception:
        if room is not None:
            await run_sync(_release, context, project, file_id)
        raise


def _reserve(context: Context, project: str, file_id: str, declared: int, once: Claim) -> int | None:
    with context.database.writing() as session:
        # The repetition of a request whose file took the last room gets that one's answer.
        if once.is_known(session):
            return None
        return quotas_of(context, session, project).reserve_bytes(file_id, declared, param="file")


def _release(context: Context, project: str, file_id: str) -> None:
    with context.database.writing() as session:
        quotas_of(context, session, project).release_bytes(file_id)


async def within(chunks: AsyncIterator[bytes], room: int | None) -> AsyncIterator[bytes]:
    """Pass chunks on. Raises LimitReached once there are more bytes than there is room for."""
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if room is not None and received > room:
            raise LimitReached("stored_bytes", f"This project has room for {room} bytes more.", param="file")
        yield chunk
