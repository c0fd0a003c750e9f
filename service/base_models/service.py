"""What can be done with base models."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as StillRunning
from typing import Any
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from deploy.contract.document import StoredFile
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.layout import DEFAULT_PROJECT
from deploy.contract.layout import base_model_prefix
from deploy.contract.layout import record_key
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_name
from deploy.store.protocol import StoreError
from service.answers.once import Claim
from service.base_models.checking import Stopping
from service.base_models.checking import check_source_uri
from service.base_models.checking import submit_check
from service.base_models.checking import upload_key
from service.base_models.fleet import pending_base_models
from service.base_models.repository import BaseModelRepository
from service.base_models.schemas import BaseModelObject
from service.base_models.schemas import CreateBaseModel
from service.base_models.schemas import HubSource
from service.base_models.schemas import UploadSource
from service.base_models.schemas import UriSource
from service.base_models.schemas import base_model_object
from service.clock import seconds
from service.context import Context
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.errors import TooLarge
from service.errors import Unavailable
from service.ids import new_id
from service.limits.receiving import quotas_of
from service.streaming import store_stream
from service.streaming import verified
from service.tables import BaseModelRow

CHECK_WAIT_S: Final = 20.0
"""How long a registration waits for the check of its model before it answers ``pending``."""
CHECK_POLL_S: Final = 0.25


def create_base_model(context: Context, project: str, body: CreateBaseModel, once: Claim) -> BaseModelObject:
    """Register a base model.

    Raises:
        BadRequest: a file or URI that can never make a base model.
        Conflict: the id is taken.
        TooLarge: a declared file is larger than the settings allow.
        LimitReached: the project has no room for the declared files.
        Answered, IdempotencyMismatch: there was a request with this Idempotency-Key before.
    """
    identity = body.id or new_id("base")
    row = BaseModelRow(
        project=project,
        id=identity,
        # The default project's lie in the store under the names that people gave them.
        key=identity if project == DEFAULT_PROJECT else new_id("base"),
        status="ready" if isinstance(body.source, HubSource) else "pending",
        source=_checked_source(context, body.source),
        uri=None,
        files=[file.model_dump() for file in body.source.files]
        if isinstance(body.source, UploadSource)
        else [],
        created_at=seconds(context.clock),
        version=0,
    )
    try:
        with context.database.writing() as session:
            once.begin(session, body)
            declared = sum(file["size_bytes"] for file in row.files)
            quotas_of(context, session, project).admit_bytes(declared, param="source.files")
            BaseModelRepository(session, project).add(row)
            once.done(session, base_model_object(row))
    except IntegrityError as error:
        raise Conflict(f"There is a base model {row.id!r} already.", code="id_taken", param="id") from error
    if isinstance(body.source, UriSource) and context.settings.role == "api":
        _await_leader(context, row)
    elif isinstance(body.source, UriSource):
        _await_check(context, row, wait_s=CHECK_WAIT_S)
    described = describe_base_model(context, project, row.id)
    if isinstance(body.source, UriSource):
        with context.database.writing() as session:
            once.done(session, described)
    return described


def _checked_source(context: Context, source: UploadSource | UriSource | HubSource) -> dict[str, Any]:
    if isinstance(source, UploadSource):
        for position, file in enumerate(source.files):
            _check_declared(context, file, param=f"source.files.{position}")
    if isinstance(source, UriSource):
        try:
            uri = check_source_uri(source.uri, local_models=context.settings.local_models)
        except ValueError as error:
            raise BadRequest(f"source.uri: {error}.", code="invalid_uri", param="source.uri") from error
        return {"type": "uri", "uri": uri}
    return source.model_dump(mode="json")


def _check_declared(context: Context, file: StoredFile, *, param: str) -> None:
    try:
        check_name(file.name)
    except ModelRefused as error:
        raise BadRequest(f"{param}.name: {error}.", code=error.code, param=f"{param}.name") from error
    limit = context.settings.max_file_bytes
    if file.size_bytes > limit:
        raise TooLarge(f"{param}.size_bytes: a file has at most {limit} bytes.", param=f"{param}.size_bytes")


def _await_leader(context: Context, registered: BaseModelRow) -> None:
    """The reconciling process checks it (:mod:`service.tidy`): this replica may end before the check does."""
    deadline = time.monotonic() + CHECK_WAIT_S
    while time.monotonic() < deadline and not context.stopping.wait(CHECK_POLL_S):
        with context.database.reading() as session:
            row = BaseModelRepository(session, registered.project).get(registered.id)
        if row is None or row.status != "pending":
            return


def _await_check(context: Context, row: BaseModelRow, *, wait_s: float | None) -> None:
    if context.stopping.is_set():
        raise Unavailable("The service is about to end.", code="stopping")
    try:
        submit_check(context, row).result(wait_s)
    except StillRunning:
        return
    except (CancelledError, Stopping) as error:
        raise Unavailable("The service is about to end.", code="stopping") from error
    except (IntakeChildFailed, OSError, StoreError) as error:
        raise Unavailable(
            "The model could not be checked for now; complete it again.", code="check_failed"
        ) from error


async def receive_model_file(
    context: Context, project: str, base_model_id: str, name: str, chunks: AsyncIterator[bytes]
) -> StoredFile:
    """Stream one declared file into the store.

    Raises:
        NotFound: no such base model, or it declares no such file.
        Conflict: the base model is complete.
        BadRequest: other bytes than declared, or a connection cut before the end.
    """
    row = await run_sync(lambda: get_base_model(context, project, base_model_id))
    declared = _declared(row, name)
    key = upload_key(base_model_prefix(row.stored_as), name)
    content = verified(chunks, size_bytes=declared.size_bytes, sha256=declared.sha256, param=name)
    stored = await store_stream(context, key, content)
    await run_sync(_keep_only_while_pending, context, row)
    return stored


def _declared(row: BaseModelRow, name: str) -> StoredFile:
    if row.source["type"] == "upload":
        for file in row.source["files"]:
            if file["name"] == name:
                if row.status != "pending":
                    raise Conflict(f"The base model {row.id} is {row.status}.", code="base_model_complete")
                return StoredFile(**file)
    raise NotFound(
        f"The base model {row.id} declares no file {name[:128]!r}.", code="file_not_declared", param="name"
    )


def _keep_only_while_pending(context: Context, written: BaseModelRow) -> None:
    with context.database.reading() as session:
        row = BaseModelRepository(session, written.project).get(written.id)
    if row is None or row.stored_as != written.stored_as or row.status == "failed":
        context.store.delete_prefix(base_model_prefix(written.stored_as))
        raise Conflict(f"The base model {written.id} went away meanwhile.", code="base_model_complete")


def complete_base_model(context: Context, project: str, base_model_id: str) -> BaseModelObject:
    """Check an uploaded base model. A repeated call answers as the first one did.

    Raises:
        NotFound: there is no such base model.
        BadRequest: a declared file is missing; ``param`` is its name.
        Unavailable: the check could not be made; the model is still pending.
    """
    row = get_base_model(context, project, base_model_id)
    if row.source["type"] != "upload":
        raise BadRequest("Only an upload is completed.", code="not_an_upload")
    if row.status == "pending":
        for file in row.source["files"]:
            found = context.store.info(upload_key(base_model_prefix(row.stored_as), file["name"]))
            if found is None or found.size_bytes != file["size_bytes"]:
                raise BadRequest(
                    f"The file {file['name']} was not uploaded yet.", code="file_missing", param=file["name"]
                )
        _await_check(context, row, wait_s=None)
    return describe_base_model(context, project, base_model_id)


def get_base_model(context: Context, project: str, base_model_id: str) -> BaseModelRow:
    """A base model. Raises NotFound."""
    with context.database.reading() as session:
        row = BaseModelRepository(session, project).get(base_model_id)
    if row is None:
        raise base_model_not_found(base_model_id)
    return row


def describe_base_model(context: Context, project: str, base_model_id: str) -> BaseModelObject:
    """What the API shows of a base model. Raises NotFound."""
    return base_model_object(get_base_model(context, project, base_model_id))


def list_base_models(
    session: Session, project: str, *, after: str | None, limit: int
) -> list[BaseModelObject]:
    """Up to ``limit + 1`` base models. Raises BadRequest for an unknown ``after``."""
    rows = BaseModelRepository(session, project).page(after=after, limit=limit)
    if rows is None:
        raise BadRequest("after: there is no such base model.", param="after", code="invalid_cursor")
    return [base_model_object(row) for row in rows]


def delete_base_model(context: Context, project: str, base_model_id: str) -> None:
    """Forget a base model, with the files that were uploaded for it; what lies elsewhere stays there.

    Raises:
        NotFound: there is no such base model.
        Conflict: a job that has not ended, or an endpoint, needs it.
    """
    stored_as = get_base_model(context, project, base_model_id).stored_as
    prefix = base_model_prefix(stored_as)
    with context.leftovers.noted(prefix):
        with context.database.writing() as session:
            models = BaseModelRepository(session, project)
            row = models.get(base_model_id, lock=True)
            if row is None or row.stored_as != stored_as:
                raise base_model_not_found(base_model_id)
            user = models.user_of(base_model_id)
            if user is not None:
                raise Conflict(f"{user} still needs this base model.", code="in_use", param="model")
            models.delete(row)
        context.store.delete_prefix(prefix)
        context.store.delete(record_key("base_models", stored_as))


def resume_checks(context: Context) -> None:
    """Take up the checks that the last process did not end. Uploads wait for their client instead."""
    with context.database.reading() as session:
        pending = pending_base_models(session)
    for row in pending:
        if row.source["type"] == "uri":
            submit_check(context, row)


def base_model_not_found(base_model_id: str, *, param: str = "model") -> NotFound:
    """The answer for an id that names no base model."""
    return NotFound(f"There is no base model {base_model_id[:128]!r}.", code="model_not_found", param=param)
