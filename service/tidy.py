"""Tidying up: what a crash left half done, and what has expired meanwhile.

The scratch space is each process's own; everything else is done by one process of an install: the
one that reconciles.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.layout import base_model_prefix
from deploy.contract.layout import file_key
from service.base_models.checking import CHECKING
from service.base_models.checking import submit_check
from service.base_models.repository import BaseModelRepository
from service.base_models.service import resume_checks
from service.context import Context
from service.files.repository import FileRepository
from service.files.service import delete_expired
from service.models.repository import ModelRepository
from service.reconcile.background import TRANSIENT
from service.recovery.recorder import Recorder
from service.uploads.repository import UploadRepository
from service.uploads.service import drop_ended
from service.uploads.service import expire_overdue

logger = logging.getLogger(__name__)
ABANDONED_S: Final = 24 * 3600.0
"""Age from which a note of an unfinished object is taken for a dead process's: an upload may take hours."""
TIDY_EVERY_S: Final = 60.0
CHECK_EVERY_S: Final = 1.0


@contextmanager
def tidying(context: Context) -> Iterator[None]:
    """Companion of an app that is alone on its database: tidies before the first request is answered."""
    with clearing_scratch(context):
        # On PostgreSQL another process may be at work.
        tidy(context, older_than_s=ABANDONED_S if context.database.shared else 0.0)
        resume_checks(context)
        yield


@contextmanager
def clearing_scratch(context: Context) -> Iterator[None]:
    """Companion of every app that checks base models: removes what its last start left behind."""
    shutil.rmtree(context.settings.home / CHECKING, ignore_errors=True)
    yield


def tidy(context: Context, *, older_than_s: float = 0.0) -> None:
    """Delete objects that no row stands for among the noted ones, and everything that has expired.

    Args:
        context: of the process.
        older_than_s: notes that are younger are left to their writers.
    """
    known = partial(_known, f"{context.store.uri}/")
    context.leftovers.sweep(context.store, known=known, older_than_s=older_than_s)
    expire_overdue(context)
    drop_ended(context)
    delete_expired(context)


class Housekeeping:
    """What the reconciling process does beside its ticks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = Recorder(context)
        self._checks: dict[str, Future[None]] = {}
        self._tidied_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. A supervisor: nothing that goes wrong here ends the thread."""
        while not stop.is_set():
            try:
                self.step()
            except TRANSIENT as error:
                logger.warning("housekeeping failed and will be tried again: %s", error)
            except Exception:  # the housekeeping's supervisor
                logger.exception("housekeeping failed")
            stop.wait(CHECK_EVERY_S)

    def step(self) -> None:
        """Do what is due."""
        if self._context.settings.role == "reconcile" and not self._context.stopping.is_set():
            self._check_base_models()
        self._recorder.step()
        if time.monotonic() - self._tidied_at >= TIDY_EVERY_S:
            self._tidied_at = time.monotonic()
            tidy(self._context, older_than_s=ABANDONED_S)

    def _check_base_models(self) -> None:
        """Check what API replicas registered by URI: it must not wait for ever for one of them that crashed."""
        for base_model_id, check in list(self._checks.items()):
            if check.done():
                del self._checks[base_model_id]
        with self._context.database.reading() as session:
            pending = BaseModelRepository(session).with_status("pending")
        for row in pending:
            if row.source["type"] == "uri" and row.id not in self._checks:
                self._checks[row.id] = submit_check(self._context, row)


def _known(root: str, session: Session, key: str) -> bool:
    kind, _, rest = key.partition("/")
    name = rest.rpartition("/")[2]
    if key == file_key(name):
        return FileRepository(session).exists(name)
    if kind == "uploads":
        return UploadRepository(session).part_exists(name)
    base_model = rest.partition("/")[0]
    if key.startswith(base_model_prefix(base_model)):
        return BaseModelRepository(session).get(base_model) is not None
    if kind == "jobs":
        return ModelRepository(session).served_from(root + key.rstrip("/"))
    return True
