"""The routes of whoever operates the service: alive, ready, measured. They need no key."""

import logging
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.responses import Response

from deploy.store.checking import check_store
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreRefused
from service.context import Context
from service.context import ContextDep

logger = logging.getLogger(__name__)
router = APIRouter(tags=["health"])
PROBE_KEY: Final = "files/readyz"
"""Asked for, never written: that the store answers is all that matters."""


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is alive and answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(context: ContextDep) -> Response:
    """Everything that a request may need is there: 200, or 503 naming what is missing."""
    checks = {
        "database": _database(context),
        "store": _store(context),
        **dict.fromkeys(context.heartbeats.silent(), "silent"),
    }
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not ready", "checks": checks}, status_code=200 if ready else 503
    )


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(context: ContextDep) -> Response:
    """Prometheus' text format."""
    return Response(context.metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


def _database(context: Context) -> str:
    try:
        context.database.ping()
    except SQLAlchemyError as error:
        logger.warning("database not ready", extra={"error": type(error).__name__})
        return "unreachable"
    return "ok"


def _store(context: Context) -> str:
    try:
        check_store(context.store)
        context.store.info(PROBE_KEY)
    except StoreRefused as error:
        logger.warning("object store refuses: %s: %s", error.code, error)
        return error.code
    except StoreError as error:
        logger.warning("object store not ready: %s", error)
        return "unreachable"
    return "ok"
