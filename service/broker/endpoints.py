"""The routes of the broker; :mod:`deploy.store.broker_wire` says what they are for."""

import itertools
import re
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Annotated
from typing import ClassVar
from typing import Final
from typing import TypeVar

from fastapi import APIRouter
from fastapi import Depends
from fastapi import Query
from fastapi import Request
from starlette.responses import Response
from starlette.responses import StreamingResponse

from deploy.contract.document import Document
from deploy.store.broker_wire import COMPLETE
from deploy.store.broker_wire import LISTING
from deploy.store.broker_wire import OBJECTS
from deploy.store.broker_wire import ONCE_BYTES
from deploy.store.broker_wire import OTHER_BYTES
from deploy.store.broker_wire import PAGE
from deploy.store.broker_wire import PARTS
from deploy.store.broker_wire import SIZE_HEADER
from deploy.store.broker_wire import SMALL_BYTES
from deploy.store.broker_wire import UPLOADS
from deploy.store.broker_wire import BegunUpload
from deploy.store.broker_wire import Deleted
from deploy.store.broker_wire import Listed
from deploy.store.broker_wire import ListingPage
from deploy.store.broker_wire import PartUrl
from deploy.store.broker_wire import SentPart
from deploy.store.broker_wire import SentUpload
from deploy.store.broker_wire import UploadPlan
from deploy.store.broker_wire import WantedUrl
from deploy.store.content import MOST_PARTS
from deploy.store.key import deleted_prefix_parts
from deploy.store.key import key_parts
from deploy.store.key import prefix_parts
from deploy.store.key import written_key_parts
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectMissing
from service.body import parse_body
from service.broker.address import Address
from service.broker.audit import audited
from service.broker.authorisation import Action
from service.broker.bodies import declared_sha256
from service.broker.bodies import declared_size
from service.broker.bodies import paced
from service.broker.bodies import small_body
from service.broker.broker import Caller
from service.broker.broker import CallerDep
from service.broker.broker import broker_of
from service.broker.ranges import Span
from service.broker.ranges import parse_range
from service.broker.uploads import DirectUploads
from service.broker.uploads import StoredUploads
from service.errors import BadRequest
from service.errors import ServiceError
from service.streaming import pumped
from service.streaming import verified

router = APIRouter()
Sent = TypeVar("Sent", bound=Document)
MOST_STORED_PART_BYTES: Final = 64 << 20
"""Of a part that goes through the broker."""
MOST_JSON_BYTES: Final = 1 << 20
"""Ten thousand parts' names fit."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class ObjectExists(ServiceError):  # noqa: N818 - the names of HTTP
    """Other bytes are there already."""

    status: ClassVar[int] = 412
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str] = OTHER_BYTES


def _own(request: Request) -> str:
    return broker_of(request).context.store.uri


def _object(
    request: Request,
    store: Annotated[str, Query(max_length=4096)],
    key: Annotated[str, Query(max_length=4096)],
) -> Address:
    """The object that a query names. Raises InvalidKey."""
    key_parts(key)
    address = Address.of(store, key, own=_own(request))
    key_parts(address.key)
    return address


def _written(address: Annotated[Address, Depends(_object)]) -> Address:
    """The same for a key that is to be written. Raises InvalidKey."""
    written_key_parts(address.key)
    return address


ObjectDep = Annotated[Address, Depends(_object)]
WrittenDep = Annotated[Address, Depends(_written)]
UploadId = Annotated[str, Query(min_length=1, max_length=1024)]


# ---- one object ---------------------------------------------------------------------------------


@router.get(OBJECTS)
async def read(request: Request, caller: CallerDep, address: ObjectDep) -> Response:
    """The bytes of an object, or where they are."""
    caller.allow(Action.READ, address)
    store = caller.broker.store_of(address)
    size_bytes = await _size(caller, address)
    span = parse_range(request.headers.get("range"), size_bytes)
    headers = {SIZE_HEADER: str(size_bytes), "cache-control": "no-store"}
    length = size_bytes if span is None else span.length
    direct = caller.broker.direct(store)
    counted = caller.broker.instruments.bytes
    if direct is not None and size_bytes > SMALL_BYTES:
        expires_s = caller.broker.limits.url_expires_s
        url = await caller.run(lambda: direct.presigned_get(address.key, expires_s=expires_s))
        counted.labels("out", "direct").inc(length)
        return Response(status_code=307, headers={**headers, "location": url})
    start = 0 if span is None else span.start
    chunks = await caller.run(lambda: store.read(address.key, start=start, length=length))
    counted.labels("out", "through").inc(length)
    return _streamed(chunks, headers, span, length)


def _streamed(chunks: Iterator[bytes], headers: dict[str, str], span: Span | None, length: int) -> Response:
    headers["content-length"] = str(length)
    if span is not None:
        headers["content-range"] = span.content_range
    return StreamingResponse(
        chunks,
        status_code=200 if span is None else 206,
        headers=headers,
        media_type="application/octet-stream",
    )


@router.head(OBJECTS)
async def head(caller: CallerDep, address: ObjectDep) -> Response:
    """Whether an object is there, and how large."""
    caller.allow(Action.READ, address)
    size_bytes = await _size(caller, address)
    return Response(headers={SIZE_HEADER: str(size_bytes), "cache-control": "no-store"})


async def _size(caller: Caller, address: Address) -> int:
    store = caller.broker.store_of(address)
    info = await caller.run(lambda: store.info(address.key))
    if info is None:
        raise ObjectMissing(f"{address}: no such object")
    return info.size_bytes


@router.put(OBJECTS, status_code=201)
async def put(request: Request, caller: CallerDep, address: WrittenDep) -> Response:
    """Write a small object, or put it once."""
    condition = request.headers.get("if-none-match")
    if condition not in {None, "*"}:
        raise BadRequest("If-None-Match: only * is known.", code="invalid_condition", param="if-none-match")
    action = Action.WRITE if condition is None else Action.WRITE_ONCE
    caller.allow(action, address)
    commits = action is Action.WRITE_ONCE and address.key == caller.scope.commits
    limit_bytes = ONCE_BYTES if commits else SMALL_BYTES
    data = await small_body(request, caller.broker.limits, limit_bytes=limit_bytes)
    with _audited(caller, action, address, size_bytes=len(data)):
        await caller.run(_write(caller, action, address, data))
    caller.broker.instruments.bytes.labels("in", "through").inc(len(data))
    return Response(status_code=201)


def _write(caller: Caller, action: Action, address: Address, data: bytes) -> Callable[[], None]:
    broker = caller.broker
    store = broker.context.store

    def write() -> None:
        broker.quotas.add(caller.account, len(data))
        store.put(address.key, data)

    def write_once() -> None:
        if address.key == caller.scope.commits:
            with broker.authoriser.committing(caller.identity):
                written = store.put_once(address.key, data)
        else:
            broker.quotas.add(caller.account, len(data))
            written = store.put_once(address.key, data)
        if not written:
            raise ObjectExists(f"{address}: other bytes are there.")

    return write if action is Action.WRITE else write_once


@router.delete(OBJECTS, status_code=204)
async def delete(caller: CallerDep, address: ObjectDep) -> Response:
    """Remove an object; one that is not there is no error."""
    caller.allow(Action.DELETE, address)
    with _audited(caller, Action.DELETE, address):
        await caller.run(lambda: caller.broker.context.store.delete(address.key))
    caller.broker.quotas.deleted(caller.account)
    return Response(status_code=204)


# ---- many objects -------------------------------------------------------------------------------


def _prefix(
    request: Request,
    store: Annotated[str, Query(max_length=4096)],
    prefix: Annotated[str, Query(max_length=4096)] = "",
) -> Address:
    """The prefix that a query names. Raises InvalidKey."""
    prefix_parts(prefix)
    address = Address.of(store, prefix, own=_own(request))
    prefix_parts(address.key)
    return address


@router.get(LISTING)
async def listing(
    caller: CallerDep,
    address: Annotated[Address, Depends(_prefix)],
    prefix: str = "",
    after: Annotated[str, Query(max_length=4096)] = "",
) -> Response:
    """A page of the objects whose key begins with a prefix."""
    if _CONTROL.search(after):
        raise InvalidKey(f"after {after[:40]!r}: has a control character")
    caller.allow(Action.LIST, address)
    store = caller.broker.context.store
    above = address.key.removesuffix(prefix)

    def page() -> ListingPage:
        found = store.list(address.key, after=above + after if after else "")
        infos = list(itertools.islice(found, PAGE + 1))
        listed = (
            Listed(key=info.key.removeprefix(above), size_bytes=info.size_bytes) for info in infos[:PAGE]
        )
        return ListingPage(objects=tuple(listed), more=len(infos) > PAGE)

    return _json(await caller.run(page))


@router.delete(LISTING)
async def clear(caller: CallerDep, address: Annotated[Address, Depends(_prefix)]) -> Response:
    """Remove all objects below a prefix."""
    deleted_prefix_parts(address.key)
    caller.allow(Action.CLEAR, address)
    with _audited(caller, Action.CLEAR, address):
        deleted = await caller.run(lambda: caller.broker.context.store.delete_prefix(address.key))
    caller.broker.quotas.deleted(caller.account)
    return _json(Deleted(deleted=deleted))


# ---- large objects ------------------------------------------------------------------------------


@router.post(UPLOADS, status_code=201)
async def begin(request: Request, caller: CallerDep, address: WrittenDep) -> Response:
    """Begin a large object."""
    caller.allow(Action.WRITE, address)
    plan = await _document(request, caller, UploadPlan)
    uploads = caller.broker.uploads(address)
    if not uploads.direct and plan.part_size_bytes > MOST_STORED_PART_BYTES:
        raise BadRequest(
            f"part_size_bytes: here parts have {MOST_STORED_PART_BYTES} bytes at most.",
            code="part_too_large",
            param="part_size_bytes",
        )

    def begun() -> str:
        upload_id = uploads.begin()
        try:
            caller.broker.quotas.begin(caller.account, upload_id)
        except ServiceError:
            uploads.abort(upload_id)
            raise
        return upload_id

    return _json(BegunUpload(upload_id=await caller.run(begun), direct=uploads.direct), status=201)


@router.post(PARTS)
async def part_url(request: Request, caller: CallerDep, address: WrittenDep, upload: UploadId) -> Response:
    """Where a part goes."""
    caller.allow(Action.WRITE, address)
    wanted = await _document(request, caller, WantedUrl)
    uploads = caller.broker.uploads(address)
    if not isinstance(uploads, DirectUploads):
        raise BadRequest("Here parts go through the broker.", code="not_direct")

    def url() -> str:
        caller.broker.quotas.add_part(caller.account, upload, wanted.number, wanted.size_bytes)
        return uploads.url(upload, wanted.number, wanted.size_bytes)

    answer = PartUrl(url=await caller.run(url))
    caller.broker.instruments.bytes.labels("in", "direct").inc(wanted.size_bytes)
    return _json(answer)


@router.put(PARTS)
async def put_part(
    request: Request,
    caller: CallerDep,
    address: WrittenDep,
    upload: UploadId,
    number: Annotated[int, Query(ge=1, le=MOST_PARTS)],
) -> Response:
    """Take in a part."""
    caller.allow(Action.WRITE, address)
    uploads = caller.broker.uploads(address)
    if not isinstance(uploads, StoredUploads):
        raise BadRequest("Here parts go to URLs that the broker hands out.", code="direct")
    size_bytes = declared_size(request, limit_bytes=MOST_STORED_PART_BYTES)
    sha256 = declared_sha256(request)
    await caller.run(lambda: caller.broker.quotas.add_part(caller.account, upload, number, size_bytes))
    body = verified(
        paced(request, size_bytes, caller.broker.limits), size_bytes=size_bytes, sha256=sha256, param="body"
    )
    await pumped(body, lambda blocks: uploads.put(upload, number, blocks, sha256=sha256), run=caller.run)
    caller.broker.instruments.bytes.labels("in", "through").inc(size_bytes)
    return _json(SentPart(etag=sha256))


@router.post(COMPLETE, status_code=201)
async def complete(request: Request, caller: CallerDep, address: WrittenDep, upload: UploadId) -> Response:
    """Make a large object visible."""
    caller.allow(Action.WRITE, address)
    sent = await _document(request, caller, SentUpload)
    with _audited(caller, Action.WRITE, address, size_bytes=sent.size_bytes):
        await caller.run(lambda: caller.broker.uploads(address).complete(upload, sent))
    caller.broker.quotas.completed(caller.account, upload, sent.size_bytes)
    return Response(status_code=201)


@router.delete(UPLOADS, status_code=204)
async def abort(caller: CallerDep, address: WrittenDep, upload: UploadId) -> Response:
    """Give a large object up; whoever may not write any more may still tidy up."""
    caller.may_tidy(address)
    await caller.run(lambda: caller.broker.uploads(address).abort(upload))
    caller.broker.quotas.given_up(caller.account, upload)
    return Response(status_code=204)


def _audited(
    caller: Caller, action: Action, address: Address, *, size_bytes: int = 0
) -> AbstractContextManager[None]:
    return audited(
        caller.broker.instruments,
        caller.identity,
        action,
        address,
        request_id=caller.request_id,
        size_bytes=size_bytes,
    )


async def _document(request: Request, caller: Caller, kind: type[Sent]) -> Sent:
    size_bytes = declared_size(request, limit_bytes=MOST_JSON_BYTES)
    raw = bytearray()
    async for chunk in paced(request, size_bytes, caller.broker.limits):
        raw += chunk
    return parse_body(bytes(raw), kind)


def _json(document: Document, *, status: int = 200) -> Response:
    return Response(document.to_bytes(), status_code=status, media_type="application/json")
