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
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from deploy.store.sweeping import Sweepable
from service.answers.fleet import forget_old as forget_answers
from service.audit.fleet import forget_old as forget_entries
from service.base_models.checking import CHECKING
from service.base_models.checking import submit_check
from service.base_models.fleet import pending_base_models
from service.base_models.fleet import stored_base_model
from service.base_models.service import resume_checks
from service.context import Context
from service.files.fleet import file_exists
from service.files.service import delete_expired
from service.limits.fleet import forget_lapsed
from service.models.fleet import served_from
from service.projects.archiving import tend_archived
from service.recovery.recorder import Recorder
from service.supervision import keep_doing
from service.uploads.fleet import part_exists
from service.uploads.service import drop_ended
from service.uploads.service import expire_overdue

logger = logging.getLogger(__name__)
ABANDONED_S: Final = 24 * 3600.0
"""Age from which a note of an unfinished object is taken for a dead process's: an upload may take hours."""
TIDY_EVERY_S: Final = 60.0
SWEEP_EVERY_S: Final = 3600.0
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
    with context.database.writing() as session:
        forget_answers(session)
        forget_lapsed(session)
        forget_entries(session, days=context.settings.audit_days)
    tend_archived(context)


def sweep_store(store: ObjectStore) -> None:
    """Remove what died writers left in the store. A bucket may forbid it and leave it to a lifecycle rule."""
    if not isinstance(store, Sweepable):
        return
    try:
        removed = store.sweep()
    except StoreError as error:
        logger.warning("unfinished uploads were not looked for: %s", error)
        return
    if removed:
        logger.info("removed unfinished uploads", extra={"removed": removed})


class Housekeeping:
    """What the reconciling process does beside its ticks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = Recorder(context)
        self._checks: dict[str, Future[None]] = {}
        self._tidied_at = float("-inf")
        self._swept_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; nothing that goes wrong here ends the thread."""
        keep_doing("housekeeping", self.step, stop, every_s=CHECK_EVERY_S)

    def step(self) -> None:
        """Do what is due."""
        if self._context.settings.role == "reconcile" and not self._context.stopping.is_set():
            self._check_base_models()
        self._recorder.step()
        if time.monotonic() - self._tidied_at >= TIDY_EVERY_S:
            self._tidied_at = time.monotonic()
            tidy(self._context, older_than_s=ABANDONED_S)
        if time.monotonic() - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = time.monotonic()
            sweep_store(self._context.store)

    def _check_base_models(self) -> None:
        """Check what API replicas registered by URI: it must not wait for ever for one of them that crashed."""
        for stored_as, check in list(self._checks.items()):
            if check.done():
                del self._checks[stored_as]
        with self._context.database.reading() as session:
            pending = pending_base_models(session)
        for row in pending:
            if row.source["type"] == "uri" and row.stored_as not in self._checks:
                self._checks[row.stored_as] = submit_check(self._context, row)


def _known(root: str, session: Session, key: str) -> bool:
    kind, _, rest = key.partition("/")
    name = rest.rpartition("/")[2]
    if key == file_key(name):
        return file_exists(session, name)
    if kind == "uploads":
        return part_exists(session, name)
    base_model = rest.partition("/")[0]
    if key.startswith(base_model_prefix(base_model)):
        return stored_base_model(session, base_model) is not None
    if kind == "jobs":
        return served_from(session, root + key.rstrip("/"))
    return True
