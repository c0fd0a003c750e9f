"""Large writes: in parts that go past the broker where the store takes them in itself, and through it where not.

Where they go through it, a part is an object of the service's store until all are there. It lies below a prefix that
no pod can name, under the digest of the key that it is for: an upload is of no use for another key.
"""

import re
import secrets
import time
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from typing import Protocol

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.layout import BROKER_UPLOADS
from deploy.contract.layout import broker_upload_prefix
from deploy.store.broker_wire import UPLOAD_MISSING
from deploy.store.broker_wire import SentUpload
from deploy.store.content import Tally
from deploy.store.direct import DirectTransfer
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreUnavailable
from service.errors import BadRequest
from service.errors import NotFound

STALE_AFTER_S: Final = 86_400.0
"""No write goes on for a day; what is older is left by a pod that died."""
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{12}-[0-9a-f]{32}")
_ETAG: Final = re.compile(r"[0-9a-f]{64}")


class Uploads(Protocol):
    """Large writes to one key of one store. Blocks."""

    @property
    def direct(self) -> bool:
        """Whether parts go past the broker."""
        ...

    def begin(self) -> str:
        """The id of a new upload."""
        ...

    def complete(self, upload_id: str, sent: SentUpload) -> None:
        """Make the object visible; again after a lost answer. Raises NotFound, BadRequest, StoreError."""
        ...

    def abort(self, upload_id: str) -> None:
        """Throw the parts away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectUploads:
    """Parts go to URLs of the store's own server."""

    store: DirectTransfer
    objects: ObjectStore
    """The same store."""
    key: str
    expires_s: int
    direct: bool = True

    def begin(self) -> str:
        """See the protocol."""
        return self.store.begin_upload(self.key)

    def url(self, upload_id: str, number: int, size_bytes: int) -> str:
        """Where a part of exactly this length goes."""
        urls = self.store.presigned_parts(
            self.key, upload_id, [number], expires_s=self.expires_s, lengths={number: size_bytes}
        )
        return urls[number]

    def complete(self, upload_id: str, sent: SentUpload) -> None:
        """See the protocol. An object of another size than was declared is removed again."""
        try:
            self.store.complete_upload(self.key, upload_id, dict(enumerate(sent.etags, 1)))
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise NotFound(
                f"The upload of {self.key} is not there, or not all of its parts: {error}",
                code=UPLOAD_MISSING,
            ) from error
        info = self.objects.info(self.key)
        if info is None or info.size_bytes != sent.size_bytes:
            self.objects.delete(self.key)
            raise _size_mismatch(0 if info is None else info.size_bytes, sent)

    def abort(self, upload_id: str) -> None:
        """See the protocol."""
        self.store.abort_upload(self.key, upload_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUploads:
    """Parts are objects of the service's own store until the object is made of them."""

    store: ObjectStore
    key: str
    direct: bool = False

    def begin(self) -> str:
        """See the protocol."""
        return f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(16)}"

    def put(self, upload_id: str, number: int, chunks: Iterable[bytes], *, sha256: str) -> StoredFile:
        """Store a part, again if need be. Whatever ``chunks`` raises comes out."""
        return self.store.put(self._part(upload_id, number, sha256), chunks)

    def complete(self, upload_id: str, sent: SentUpload) -> None:
        """See the protocol. Nothing becomes visible unless size and hash are those declared."""
        self._prefix(upload_id)
        if not all(map(_ETAG.fullmatch, sent.etags)):
            raise BadRequest("etags: not those of this upload's parts.", param="etags")
        try:
            self.store.put(self.key, self._joined(upload_id, sent))
        except ObjectMissing:
            if not self._is_there(sent):
                raise NotFound(f"The upload of {self.key} is not there.", code=UPLOAD_MISSING) from None
        self.abort(upload_id)

    def abort(self, upload_id: str) -> None:
        """See the protocol."""
        self.store.delete_prefix(self._prefix(upload_id))

    def _joined(self, upload_id: str, sent: SentUpload) -> Iterator[bytes]:
        tally = Tally()
        for number, etag in enumerate(sent.etags, 1):
            yield from tally.counted(self.store.read(self._part(upload_id, number, etag)))
        if tally.size_bytes != sent.size_bytes:
            raise _size_mismatch(tally.size_bytes, sent)
        if tally.sha256 != sent.sha256:
            raise BadRequest(
                f"The SHA-256 is {tally.sha256}, declared was {sent.sha256}.", code="sha256_mismatch"
            )

    def _is_there(self, sent: SentUpload) -> bool:
        """Whether the object is what this upload makes: then its parts are gone because it did."""
        info = self.store.info(self.key)
        if info is None or info.size_bytes != sent.size_bytes:
            return False
        tally = Tally()
        for _ in tally.counted(self.store.read(self.key)):
            pass
        return tally.sha256 == sent.sha256

    def _part(self, upload_id: str, number: int, etag: str) -> str:
        return f"{self._prefix(upload_id)}{number:05d}.{etag}"

    def _prefix(self, upload_id: str) -> str:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise NotFound(f"The upload of {self.key} is not there.", code=UPLOAD_MISSING)
        return broker_upload_prefix(upload_id, sha256_hex(self.key.encode()))


def _size_mismatch(found: int, sent: SentUpload) -> BadRequest:
    return BadRequest(f"{found} bytes arrived, declared were {sent.size_bytes}.", code="size_mismatch")


def sweep(store: ObjectStore, *, older_than_s: float = STALE_AFTER_S) -> int:
    """Remove the parts of uploads that were never completed. Returns how many there were. Raises StoreError."""
    oldest = f"{max(0, int((time.time() - older_than_s) * 1000)):012x}"
    removed = 0
    while True:
        found = next(iter(store.list(BROKER_UPLOADS)), None)
        upload = "" if found is None else found.key.removeprefix(BROKER_UPLOADS).partition("/")[0]
        if not upload or upload >= oldest:  # they sort by age
            return removed
        store.delete_prefix(f"{BROKER_UPLOADS}{upload}/")
        removed += 1
