"""What can be done with files. The content is stored first, its row makes it visible."""

from collections.abc import Mapping
from typing import Literal

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from deploy.contract.document import StoredFile
from deploy.contract.layout import file_key
from service.answers.once import Claim
from service.clock import seconds
from service.context import Context
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.files.fleet import expired_files
from service.files.repository import FileRepository
from service.files.schemas import MAX_EXPIRES_S
from service.files.schemas import MIN_EXPIRES_S
from service.files.schemas import UPLOAD_PURPOSES
from service.files.schemas import FileObject
from service.files.schemas import Purpose
from service.files.schemas import file_object
from service.ids import new_id
from service.leftovers import Note
from service.limits.receiving import quotas_of
from service.limits.receiving import reserved
from service.limits.receiving import within
from service.multipart import Form
from service.streaming import bounded
from service.streaming import store_stream
from service.tables import FileRow

FORM_FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})


async def receive_file(
    context: Context, project: str, form: Form, once: Claim, *, declared: int = 0
) -> FileObject:
    """Stream an uploaded file into the store, and make it visible when all of it is there.

    Raises:
        BadRequest: a bad field or form, an empty file, or a connection cut before the end.
        TooLarge: the file is larger than the settings allow.
        LimitReached: the project has no room for it.
        Answered: the same file was uploaded with this Idempotency-Key before.
        IdempotencyMismatch: another one was.
    """
    filename = await form.open_file()
    if form.fields:
        _check_fields(form.fields, complete=False)
    file_id = new_id("file")
    key = file_key(file_id)
    async with (
        reserved(context, project, file_id, declared, once) as room,
        context.leftovers.noted_async(key) as note,
    ):
        content = bounded(form.chunks(), limit_bytes=context.settings.max_file_bytes, param="file")
        stored = await store_stream(context, key, within(content, room))
        try:
            purpose, expires_after_s = _check_fields(await form.finish(), complete=True)
            return await run_sync(
                lambda: publish_file(
                    context,
                    project,
                    file_id,
                    stored,
                    once,
                    filename=filename,
                    purpose=purpose,
                    expires_after_s=expires_after_s,
                    note=note,
                )
            )
        except SQLAlchemyError:
            # Whether it is committed is not known: the note stays, and the sweep finds out.
            raise
        except Exception:
            await run_sync(context.store.delete, key)
            raise


def publish_file(
    context: Context,
    project: str,
    file_id: str,
    stored: StoredFile,
    once: Claim,
    *,
    filename: str,
    purpose: Purpose,
    note: Note,
    expires_after_s: int | None = None,
) -> FileObject:
    """Make a complete object ``files/{file_id}`` visible.

    Raises:
        BadRequest: it is empty.
        LimitReached: it is larger than was declared, and the project has no room for it.
        Answered, IdempotencyMismatch: there was such a request before.
    """
    asked = f"{filename}\n{purpose}\n{expires_after_s}\n{stored.sha256}"
    with context.database.writing() as session:
        note.strike(session)
        once.begin(session, asked)
        quotas_of(context, session, project).settle_bytes(file_id, stored.size_bytes, param="file")
        file = add_file(
            session,
            project,
            file_id,
            stored,
            filename=filename,
            purpose=purpose,
            now=seconds(context.clock),
            expires_after_s=expires_after_s,
        )
        return once.done(session, file)


def add_file(
    session: Session,
    project: str,
    file_id: str,
    stored: StoredFile,
    *,
    filename: str,
    purpose: Purpose,
    now: int,
    expires_after_s: int | None = None,
) -> FileObject:
    """As :func:`publish_file`, within a transaction that the caller has begun."""
    if stored.size_bytes == 0:
        raise BadRequest("file: the file is empty.", code="empty_file", param="file")
    row = FileRow(
        project=project,
        id=file_id,
        filename=filename,
        purpose=purpose,
        bytes=stored.size_bytes,
        sha256=stored.sha256,
        status="processed",
        created_at=now,
        expires_at=None if expires_after_s is None else now + expires_after_s,
        deleted=False,
    )
    FileRepository(session, project).add(row)
    return file_object(row)


def get_file(session: Session, project: str, file_id: str, *, now: int) -> FileRow:
    """A visible file. Raises NotFound."""
    row = FileRepository(session, project).get(file_id, now=now)
    if row is None:
        raise file_not_found(file_id)
    return row


def list_files(
    session: Session,
    project: str,
    *,
    after: str | None,
    limit: int,
    order: Literal["asc", "desc"],
    purpose: str | None,
    now: int,
) -> list[FileObject]:
    """Up to ``limit + 1`` files. Raises BadRequest for an unknown ``after``."""
    files = FileRepository(session, project)
    rows = files.page(after=after, limit=limit, order=order, purpose=purpose, now=now)
    if rows is None:
        raise BadRequest("after: there is no such file.", param="after", code="invalid_cursor")
    return [file_object(row) for row in rows]


def delete_file(context: Context, project: str, file_id: str) -> None:
    """Delete a file and its content.

    Raises:
        NotFound: there is no such file.
        Conflict: a job or a scan that has not ended needs it.
    """
    key = file_key(file_id)
    with context.leftovers.noted(key):
        with context.database.writing() as session:
            files = FileRepository(session, project)
            # Locked, so that no job can be created with it between the look and the deletion.
            row = files.get(file_id, now=seconds(context.clock), lock=True)
            if row is None:
                raise file_not_found(file_id)
            user = files.user_of(file_id)
            if user is not None:
                raise Conflict(f"{user} still needs this file.", code="in_use", param="file_id")
            files.mark_deleted(row)
        context.store.delete(key)


def delete_expired(context: Context) -> None:
    """Delete the content of files whose time is over, unless a job or a scan that has not ended needs it."""
    with context.database.reading() as session:
        expired = expired_files(session, now=seconds(context.clock))
    for project, file_id in expired:
        with context.leftovers.noted(file_key(file_id)):
            with context.database.writing() as session:
                files = FileRepository(session, project)
                row = files.get_stored(file_id)
                if row is None or files.user_of(file_id) is not None:
                    continue
                files.mark_deleted(row)
            context.store.delete(file_key(file_id))


def file_not_found(file_id: str, *, param: str = "file_id") -> NotFound:
    """The answer for an id that names no visible file."""
    return NotFound(f"There is no file {file_id[:64]!r}.", code="file_not_found", param=param)


def check_purpose(purpose: str) -> Purpose:
    """Raises BadRequest for a purpose that nobody may upload for."""
    for known in UPLOAD_PURPOSES:
        if purpose == known:
            return known
    raise BadRequest(
        f"purpose: {purpose[:64]!r} is not one of {', '.join(UPLOAD_PURPOSES)}.",
        code="invalid_purpose",
        param="purpose",
    )


def _check_fields(fields: Mapping[str, str], *, complete: bool) -> tuple[Purpose, int | None]:
    unknown = sorted(set(fields) - FORM_FIELDS)
    if unknown:
        raise BadRequest(f"{unknown[0][:64]}: there is no such field.", param=unknown[0][:64])
    if "purpose" not in fields and complete:
        raise BadRequest("purpose: this field is required.", param="purpose", code="missing_field")
    purpose = check_purpose(fields.get("purpose", "fine-tune"))
    return purpose, _expires_after(fields)


def _expires_after(fields: Mapping[str, str]) -> int | None:
    anchor = fields.get("expires_after[anchor]")
    raw = fields.get("expires_after[seconds]")
    if anchor is not None and anchor != "created_at":
        raise BadRequest("expires_after.anchor: only created_at.", param="expires_after.anchor")
    if raw is None:
        return None
    if not raw.isascii() or not raw.isdigit() or not MIN_EXPIRES_S <= int(raw[:12]) <= MAX_EXPIRES_S:
        raise BadRequest(
            f"expires_after.seconds: a whole number from {MIN_EXPIRES_S} to {MAX_EXPIRES_S}.",
            param="expires_after.seconds",
        )
    return int(raw)
