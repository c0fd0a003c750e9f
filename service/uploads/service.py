"""What can be done with uploads. Parts are objects of their own until the upload is complete."""

import hashlib
from collections.abc import Iterator

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from deploy.contract.layout import file_key
from deploy.contract.layout import upload_part_key
from deploy.store.protocol import ObjectMissing
from service.answers.once import Claim
from service.clock import seconds
from service.context import Context
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.errors import TooLarge
from service.files.repository import FileRepository
from service.files.schemas import FileObject
from service.files.schemas import file_object
from service.files.service import add_file
from service.files.service import check_purpose
from service.ids import new_id
from service.leftovers import Note
from service.limits.receiving import quotas_of
from service.multipart import Form
from service.multipart import clean_filename
from service.streaming import bounded
from service.streaming import store_stream
from service.tables import UploadPartRow
from service.tables import UploadRow
from service.uploads.fleet import ended_with_parts
from service.uploads.fleet import forget_parts
from service.uploads.fleet import overdue_uploads
from service.uploads.repository import UploadRepository
from service.uploads.schemas import LIFETIME_S
from service.uploads.schemas import MAX_PARTS
from service.uploads.schemas import CompleteUpload
from service.uploads.schemas import CreateUpload
from service.uploads.schemas import UploadObject
from service.uploads.schemas import UploadPartObject
from service.uploads.schemas import part_object
from service.uploads.schemas import upload_object


def create_upload(context: Context, project: str, body: CreateUpload, once: Claim) -> UploadObject:
    """Announce a file.

    Raises:
        BadRequest: a purpose or a file name that cannot be.
        TooLarge: more bytes than the settings allow.
        LimitReached: the project has no room for them.
        Answered, IdempotencyMismatch: there was a request with this Idempotency-Key before.
    """
    limit = context.settings.max_file_bytes
    if body.bytes > limit:
        raise TooLarge(f"bytes: a file has at most {limit} bytes.", param="bytes")
    now = seconds(context.clock)
    row = UploadRow(
        project=project,
        id=new_id("upload"),
        filename=clean_filename(body.filename, param="filename"),
        purpose=check_purpose(body.purpose),
        bytes=body.bytes,
        mime_type=body.mime_type,
        file_expires_after_s=body.expires_after.seconds if body.expires_after else None,
        status="pending",
        created_at=now,
        expires_at=now + LIFETIME_S,
        version=0,
    )
    with context.database.writing() as session:
        once.begin(session, body)
        quotas_of(context, session, project).admit_bytes(body.bytes, param="bytes")
        UploadRepository(session, project).add(row)
        return once.done(session, upload_object(row))


async def receive_part(context: Context, project: str, upload_id: str, form: Form) -> UploadPartObject:
    """Stream one part into the store.

    Raises:
        NotFound: there is no such upload.
        Conflict: the upload has ended.
        BadRequest: a malformed form, an empty part, or a connection cut before the end.
        TooLarge: the part is larger than the whole upload.
        LimitReached: the parts are more than was announced, and the project has no room for them.
    """
    upload = await run_sync(lambda: pending_upload(context, project, upload_id))
    await form.open_file()
    part_id = new_id("part")
    key = upload_part_key(upload_id, part_id)
    async with context.leftovers.noted_async(key) as note:
        content = bounded(form.chunks(), limit_bytes=upload.bytes, param="data")
        stored = await store_stream(context, key, content)
        try:
            await form.finish()
            if stored.size_bytes == 0:
                raise BadRequest("data: the part is empty.", param="data")
            row = UploadPartRow(
                id=part_id,
                upload_id=upload_id,
                bytes=stored.size_bytes,
                sha256=stored.sha256,
                created_at=await run_sync(seconds, context.clock),
            )
            await run_sync(_add_part, context, project, row, note)
        except SQLAlchemyError:
            # Whether it is committed is not known: the note stays, and the sweep finds out.
            raise
        except Exception:
            await run_sync(context.store.delete, key)
            raise
    return part_object(row)


def _add_part(context: Context, project: str, row: UploadPartRow, note: Note) -> None:
    with context.database.writing() as session:
        note.strike(session)
        uploads = UploadRepository(session, project)
        upload = uploads.get(row.upload_id, lock=True)
        if upload is None or upload.status != "pending":
            raise _ended(row.upload_id)
        if uploads.count_parts(row.upload_id) >= MAX_PARTS:
            raise BadRequest(f"An upload has at most {MAX_PARTS} parts.", code="too_many_parts")
        uploads.add(row)
        # What was announced is reserved; parts may be more, for one whose answer was lost is sent again.
        quotas_of(context, session, project).admit_bytes(0, param="data")


def complete_upload(context: Context, project: str, upload_id: str, body: CompleteUpload) -> UploadObject:
    """Join the named parts into a file. A repeated call answers as the first one did.

    Raises:
        NotFound: there is no such upload.
        Conflict: it was cancelled, has expired, or is being completed by another request.
        BadRequest: an unknown or repeated part, or another size or MD5 than announced.
    """
    with context.database.reading() as session:
        files, uploads = FileRepository(session, project), UploadRepository(session, project)
        done = _completed(files, uploads, upload_id, context)
    if done is not None:
        return done
    upload = pending_upload(context, project, upload_id)
    parts = _chosen_parts(context, upload, body)
    file_id = new_id("file")
    key = file_key(file_id)
    with context.leftovers.noted(key) as note:
        file = _join(context, upload, parts, file_id=file_id, md5=body.md5, note=note)
        upload.status, upload.file_id = "completed", file.id
    drop_parts(context, upload_id)
    return upload_object(upload, file=file)


def _completed(
    files: FileRepository, uploads: UploadRepository, upload_id: str, context: Context
) -> UploadObject | None:
    row = uploads.get(upload_id)
    if row is None or row.status != "completed" or row.file_id is None:
        return None
    file = files.get(row.file_id, now=seconds(context.clock))
    return upload_object(row, file=None if file is None else file_object(file))


def _chosen_parts(context: Context, upload: UploadRow, body: CompleteUpload) -> list[UploadPartRow]:
    with context.database.reading() as session:
        known = {part.id: part for part in UploadRepository(session, upload.project).parts(upload.id)}
    seen: set[str] = set()
    for position, part_id in enumerate(body.part_ids):
        if part_id not in known or part_id in seen:
            problem = "is named twice" if part_id in seen else "is not a part of this upload"
            raise BadRequest(
                f"part_ids.{position}: {part_id[:64]!r} {problem}.", param=f"part_ids.{position}"
            )
        seen.add(part_id)
    parts = [known[part_id] for part_id in body.part_ids]
    total = sum(part.bytes for part in parts)
    if total != upload.bytes:
        raise BadRequest(
            f"The parts have {total} bytes together, announced were {upload.bytes}.",
            code="size_mismatch",
            param="part_ids",
        )
    return parts


def _join(
    context: Context,
    upload: UploadRow,
    parts: list[UploadPartRow],
    *,
    file_id: str,
    md5: str | None,
    note: Note,
) -> FileObject:
    key = file_key(file_id)
    stored = context.store.put(key, _joined(context, parts, md5=md5))
    try:
        with context.database.writing() as session:
            note.strike(session)
            file = add_file(
                session,
                upload.project,
                file_id,
                stored,
                filename=upload.filename,
                purpose=check_purpose(upload.purpose),
                now=seconds(context.clock),
                expires_after_s=upload.file_expires_after_s,
            )
            uploads = UploadRepository(session, upload.project)
            if not uploads.settle(upload.id, "completed", file_id=file_id):
                raise _ended(upload.id)
    except SQLAlchemyError:
        # Whether it is committed is not known: the note stays, and the sweep finds out.
        raise
    except Exception:
        context.store.delete(key)
        raise
    return file


def _joined(context: Context, parts: list[UploadPartRow], *, md5: str | None) -> Iterator[bytes]:
    digest = hashlib.md5(usedforsecurity=False)  # OpenAI's choice; our own hash is SHA-256
    for part in parts:
        try:
            for chunk in context.store.read(upload_part_key(part.upload_id, part.id)):
                digest.update(chunk)
                yield chunk
        except ObjectMissing:
            # Another request completed or cancelled the upload meanwhile and deleted its parts.
            raise _ended(part.upload_id) from None
    if md5 is not None and digest.hexdigest() != md5.lower():
        raise BadRequest(f"md5: the content's is {digest.hexdigest()}.", code="md5_mismatch", param="md5")


def cancel_upload(context: Context, project: str, upload_id: str) -> UploadObject:
    """Give an upload up. Raises NotFound, or Conflict when it has ended."""
    upload = pending_upload(context, project, upload_id)
    with context.database.writing() as session:
        if not UploadRepository(session, project).settle(upload_id, "cancelled"):
            raise _ended(upload_id)
    drop_parts(context, upload_id)
    upload.status = "cancelled"
    return upload_object(upload)


def pending_upload(context: Context, project: str, upload_id: str) -> UploadRow:
    """An upload that still takes parts. Raises NotFound, or Conflict when it has ended."""
    with context.database.reading() as session:
        row = UploadRepository(session, project).get(upload_id)
    if row is None:
        raise NotFound(f"There is no upload {upload_id[:64]!r}.", code="upload_not_found", param="upload_id")
    if row.status == "pending" and row.expires_at <= seconds(context.clock):
        expire_upload(context, project, upload_id)
        raise Conflict("The upload has expired.", code="upload_expired", param="upload_id")
    if row.status != "pending":
        raise _ended(upload_id, status=row.status)
    return row


def expire_upload(context: Context, project: str, upload_id: str) -> None:
    """End an upload whose time is over, and delete its parts."""
    with context.database.writing() as session:
        settled = UploadRepository(session, project).settle(upload_id, "expired")
    if settled:
        drop_parts(context, upload_id)


def expire_overdue(context: Context) -> None:
    """End every upload whose time is over."""
    with context.database.reading() as session:
        overdue = overdue_uploads(session, now=seconds(context.clock))
    for project, upload_id in overdue:
        expire_upload(context, project, upload_id)


def drop_ended(context: Context) -> None:
    """Drop the parts that a crash left of uploads that have ended."""
    with context.database.reading() as session:
        ended = ended_with_parts(session)
    for upload_id in ended:
        drop_parts(context, upload_id)


def drop_parts(context: Context, upload_id: str) -> None:
    """Delete the parts of an upload that has ended: first the objects, then the rows that name them."""
    context.store.delete_prefix(f"uploads/{upload_id}/")
    with context.database.writing() as session:
        forget_parts(session, upload_id)


def _ended(upload_id: str, *, status: str = "ended") -> Conflict:
    return Conflict(f"The upload {upload_id} is {status}.", code="upload_not_pending", param="upload_id")
