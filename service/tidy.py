"""Tidying up at start: what a crash left half done, and what has expired meanwhile."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy.orm import Session

from deploy.contract.layout import base_model_prefix
from deploy.contract.layout import file_key
from service.base_models.checking import CHECKING
from service.base_models.repository import BaseModelRepository
from service.base_models.service import resume_checks
from service.context import Context
from service.files.repository import FileRepository
from service.files.service import delete_expired
from service.models.repository import ModelRepository
from service.uploads.repository import UploadRepository
from service.uploads.service import expire_overdue


@contextmanager
def tidying(context: Context) -> Iterator[None]:
    """Companion of the app: tidies before the first request is answered."""
    tidy(context)
    yield


def tidy(context: Context) -> None:
    """Delete objects that no row stands for among the noted ones, and everything that has expired."""
    context.leftovers.sweep(context.store, known=partial(_known, f"{context.store.uri}/"))
    expire_overdue(context)
    delete_expired(context)
    shutil.rmtree(context.settings.home / CHECKING, ignore_errors=True)
    resume_checks(context)


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
