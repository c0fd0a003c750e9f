"""Keeps the answer to a request with an Idempotency-Key that failed in a way that nobody foresaw.

What it left behind is not known, so that a repetition gets the same answer and does nothing; another key tries anew.
"""

import logging
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.answers.once import STATE
from service.answers.once import Claim
from service.answers.repository import AnswerRepository
from service.database import Database

logger = logging.getLogger(__name__)
FAILED: Final = 500


class KeepFailures:
    """ASGI middleware; around whatever answers 500."""

    def __init__(self, app: ASGIApp, *, database: Database) -> None:
        self._app = app
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        failed = False

        async def watched(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = message["status"] == FAILED
            elif failed and message["type"] == "http.response.body":
                claim = scope.get("state", {}).get(STATE)
                if isinstance(claim, Claim):
                    # Before it is sent: whoever has seen it sees nothing else afterwards.
                    await run_sync(self._keep, claim, message.get("body", b""))
            await send(message)

        await self._app(scope, receive, watched)

    def _keep(self, claim: Claim, body: bytes) -> None:
        if claim.key is None or claim.body_sha256 is None:
            return
        try:
            with self._database.writing() as session:
                answers = AnswerRepository(session, claim.project, claim.route)
                if answers.claim(claim.key, body_sha256=claim.body_sha256) is None:
                    answers.keep(claim.key, status=FAILED, body=body.decode())
        except SQLAlchemyError as error:
            logger.warning("the answer to a failed request could not be kept: %s", type(error).__name__)
