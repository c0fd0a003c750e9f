"""The object store of a pod: another store, reached through the broker, which knows what this pod may do.

Covers: everything that :class:`deploy.store.protocol.ObjectStore` promises, tokens that rotate, a broker that restarts
or is replaced, cut connections, URLs that expire in the middle. Every byte is hashed here, whoever carried it.
Does not cover: an object that is overwritten with one of the same size while it is streamed by the broker itself
and the stream breaks (readers that know its SHA-256 find out), or ``put_once`` of more than 4 MiB.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from urllib3.exceptions import HTTPError

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.store.broker_connection import BrokerConnection
from deploy.store.broker_connection import BrokerSettings
from deploy.store.broker_connection import Overwritten
from deploy.store.broker_connection import Response
from deploy.store.broker_connection import broker_connection
from deploy.store.broker_connection import read_problem
from deploy.store.broker_connection import refusal
from deploy.store.broker_upload import BrokerUpload
from deploy.store.broker_wire import CODE_HEADER
from deploy.store.broker_wire import LISTING
from deploy.store.broker_wire import OBJECT_MISSING
from deploy.store.broker_wire import OBJECTS
from deploy.store.broker_wire import ONCE_BYTES
from deploy.store.broker_wire import SHA256_HEADER
from deploy.store.broker_wire import SIZE_HEADER
from deploy.store.broker_wire import SMALL_BYTES
from deploy.store.broker_wire import Deleted
from deploy.store.broker_wire import ListingPage
from deploy.store.content import CHUNK_BYTES
from deploy.store.content import Tally
from deploy.store.content import from_first
from deploy.store.content import parts_of
from deploy.store.key import deleted_prefix_parts
from deploy.store.key import key_parts
from deploy.store.key import prefix_parts
from deploy.store.key import written_key_parts
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreUnavailable
from deploy.store.streamed import StreamedStore

_BYTES: Final = {"content-type": "application/octet-stream"}
_EXPIRED: Final = frozenset({400, 401, 403})
"""What servers of S3's protocol say to a URL whose time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """The bytes of a range on their way, and what pins a later request to the same object."""

    response: Response | None
    """None for an empty range."""
    size_bytes: str | None = None
    """Of the whole object, as the broker said it."""
    etag: str | None = None
    """As the store's own server said it."""


class BrokeredStore(StreamedStore):
    """An :class:`deploy.store.protocol.ObjectStore` that a broker opens for this process.

    Args:
        uri: canonical, of the store that the broker opens; no trailing slash.
        settings: where the broker is.
    """

    def __init__(self, uri: str, settings: BrokerSettings) -> None:
        super().__init__(part_size_bytes=settings.part_size_bytes, max_concurrency=settings.max_concurrency)
        self._uri = uri
        self._settings = settings
        self._connection: BrokerConnection = broker_connection(settings)

    @property
    def uri(self) -> str:
        """Of the root, as if there were no broker."""
        return self._uri

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object unless one exists; see the protocol. Raises StoreError for more than 4 MiB."""
        written_key_parts(key)
        if len(data) > ONCE_BYTES:
            raise StoreError(f"{key}: {len(data)} bytes cannot be put once; the limit is {ONCE_BYTES}")
        # A retry after a lost answer finds equal bytes, which the broker takes for ours.
        return self._put_small(key, data, sha256_hex(data), {"if-none-match": "*"}) != 412

    def info(self, key: str) -> ObjectInfo | None:
        """Size of an object, or None."""
        key_parts(key)
        answer = self._connection.call("HEAD", OBJECTS, self._named(key), expect=(404,))
        size = answer.headers.get(SIZE_HEADER, "")
        if answer.status == 404 and answer.headers.get(CODE_HEADER) == OBJECT_MISSING:
            return None
        if not size.isdecimal():
            raise StoreError(f"{self._uri}/{key}: {self._settings.url} is no broker (HTTP {answer.status})")
        return ObjectInfo(key=key, size_bytes=int(size))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects below a string prefix in key order; see the protocol."""
        prefix_parts(prefix)
        return self._list(prefix, after)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        key_parts(key)
        self._connection.call("DELETE", OBJECTS, self._named(key))

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, which ends with a slash; returns how many.

        After a lost answer those that are gone by then are not counted.
        """
        deleted_prefix_parts(prefix)
        answer = self._connection.call("DELETE", LISTING, {"store": self._uri, "prefix": prefix})
        return Deleted.from_bytes(answer.data).deleted

    def _named(self, key: str) -> dict[str, str]:
        return {"store": self._uri, "key": key}

    def _put(self, key: str, chunks: Iterable[bytes], *, part_size_bytes: int, in_flight: int) -> StoredFile:
        tally = Tally()
        parts = parts_of(tally.counted(chunks), part_size_bytes)
        first = [next(parts, bytearray())]
        if len(first[0]) <= SMALL_BYTES:
            self._put_small(key, first[0], tally.sha256, {})
        else:
            upload = BrokerUpload(
                connection=self._connection,
                named=self._named(key),
                part_size_bytes=part_size_bytes,
                in_flight=in_flight,
            )
            upload.send(from_first(first, parts), tally)
        return StoredFile(name=key.rpartition("/")[2], size_bytes=tally.size_bytes, sha256=tally.sha256)

    def _put_small(self, key: str, data: bytes | bytearray, sha256: str, condition: dict[str, str]) -> int:
        headers = {**_BYTES, SHA256_HEADER: sha256, **condition}
        expect = (412,) if condition else ()
        answer = self._connection.call(
            "PUT", OBJECTS, self._named(key), headers=headers, body=data, expect=expect
        )
        return answer.status

    def _list(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        while True:
            query = {"store": self._uri, "prefix": prefix, "after": after}
            page = ListingPage.from_bytes(self._connection.call("GET", LISTING, query).data)
            for listed in page.objects:
                yield ObjectInfo(key=listed.key, size_bytes=listed.size_bytes)
            if not page.more or not page.objects:
                return
            after = page.objects[-1].key

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """Chunks of a range; a connection that breaks is taken up again where it broke."""
        body = self._open(key, start, end, _Body(response=None))
        yield b""  # the caller takes this one, so that what follows always reaches ``finally``
        failures = 0
        while True:
            begun_at = start
            try:
                for chunk in self._chunks(body, key):
                    start += len(chunk)
                    yield chunk
                return
            except StoreUnavailable as error:
                # Only breaks without progress add up: a file of many gigabytes may well meet several.
                failures = 1 if start > begun_at else failures + 1
                if failures >= self._settings.max_attempts:
                    raise
                self._connection.wait(failures, error)
            body = self._open(key, start, end, body)

    def _chunks(self, body: _Body, key: str) -> Iterator[bytes]:
        response = body.response
        if response is None:
            return
        try:
            while chunk := response.read(CHUNK_BYTES, decode_content=False):
                yield chunk
        except HTTPError as error:
            raise StoreUnavailable(f"{self._uri}/{key}: the transfer broke: {error}") from error
        finally:
            # Closed, not drained: a reader may stop after a few bytes of many gigabytes.
            response.close()
            response.release_conn()

    def _open(self, key: str, start: int, end: int | None, pinned: _Body) -> _Body:
        if end is not None and start >= end:
            if self.info(key) is None:
                raise ObjectMissing(f"{self._uri}/{key}: no such object")
            return _Body(response=None)
        whole = start == 0 and end is None
        wanted = {} if whole else {"range": f"bytes={start}-{'' if end is None else end - 1}"}
        return self._connection.retried(lambda: self._open_once(key, wanted, pinned))

    def _open_once(self, key: str, wanted: dict[str, str], pinned: _Body) -> _Body:
        response = self._connection.stream(OBJECTS, self._named(key), wanted)
        size = response.headers.get(SIZE_HEADER)
        if pinned.size_bytes is not None and size is not None and size != pinned.size_bytes:
            read_problem(response)
            raise Overwritten(f"{self._uri}/{key}: the object was overwritten while it was read")
        if response.status == 307:
            read_problem(response)
            return self._open_elsewhere(key, response.headers.get("location", ""), wanted, pinned, size)
        if response.status == (206 if wanted else 200) and size is not None:
            return _Body(response=response, size_bytes=size)
        data = read_problem(response)
        if response.status == 416 and wanted:  # begins behind the end of the object
            return _Body(response=None)
        raise refusal(response, data, self._named(key))

    def _open_elsewhere(
        self, key: str, url: str, wanted: dict[str, str], pinned: _Body, size: str | None
    ) -> _Body:
        same = {} if pinned.etag is None else {"if-match": pinned.etag}
        response = self._connection.elsewhere("GET", url, headers={**wanted, **same})
        if response.status == (206 if wanted else 200):
            return _Body(response=response, size_bytes=size, etag=response.headers.get("etag"))
        read_problem(response)
        what = f"{self._uri}/{key}"
        match response.status:
            case 416 if wanted:
                return _Body(response=None)
            case 404:
                raise ObjectMissing(f"{what}: no such object")
            case 412:
                raise Overwritten(f"{what}: the object was overwritten while it was read")
            case status if status in _EXPIRED or status == 429 or status >= 500:
                raise StoreUnavailable(f"{what}: the store answered HTTP {status} to the broker's URL")
            case status:
                raise StoreError(f"{what}: the store answered HTTP {status} to the broker's URL")


__all__ = ["BrokerSettings", "BrokeredStore"]
