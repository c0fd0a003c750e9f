"""What a pod's store and the broker say to each other: paths, headers, limits, bodies.

Every request names a store by its canonical URI (``?store=s3://bucket/prefix``) and an object in it by its plain
key (``&key=...``), each percent-encoded exactly once in the query: no path is ever decoded, joined or normalised.

==========================  ==========================================================================
``GET /v1/objects``         the bytes (``Range`` honoured), or 307 to where the store itself hands them out
``HEAD /v1/objects``        whether it is there, and its size in ``x-temper-size``
``PUT /v1/objects``         a small object; with ``If-None-Match: *`` only where none is (412: other bytes are there)
``DELETE /v1/objects``      remove it
``GET /v1/listing``         a page of the objects whose key begins with ``prefix``, behind ``after``
``DELETE /v1/listing``      remove all objects below ``prefix``
``POST /v1/uploads``        begin a large object
``POST /v1/uploads/parts``  a URL to which a part goes, where the store itself takes it in (``direct``)
``PUT /v1/uploads/parts``   one part, where it does not
``POST /v1/uploads/complete``  make the object visible
``DELETE /v1/uploads``      give it up
==========================  ==========================================================================
"""

from typing import Annotated
from typing import Final

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.store.content import MOST_PARTS

OBJECTS: Final = "/v1/objects"
LISTING: Final = "/v1/listing"
UPLOADS: Final = "/v1/uploads"
PARTS: Final = "/v1/uploads/parts"
COMPLETE: Final = "/v1/uploads/complete"

SIZE_HEADER: Final = "x-temper-size"
"""Bytes of the whole object."""
SHA256_HEADER: Final = "x-temper-sha256"
"""Of a request's body: what arrives otherwise is refused before it is stored."""
CODE_HEADER: Final = "x-temper-code"
"""The code of a problem, for answers to HEAD, which have no body."""

OBJECT_MISSING: Final = "object_missing"
OTHER_BYTES: Final = "object_exists"
UPLOAD_MISSING: Final = "upload_missing"
INVALID_KEY: Final = "invalid_key"
FULL_CODES: Final = frozenset({"storage_full", "quota_exceeded"})

SMALL_BYTES: Final = 1 << 20
"""Up to here an object goes through the broker whole; larger ones go past it where the store can do that."""
ONCE_BYTES: Final = 4 << 20
"""Of a result: it is a document, with at most some thousand files in it. Whatever else is put once is small."""
PAGE: Final = 5000
"""Objects of one page of a listing."""
LEAST_PART_BYTES: Final = 5 << 20
MOST_PART_BYTES: Final = 5 << 30
"""The limits of S3, but for the last part."""


class Listed(Document):
    """One object of a listing."""

    key: str
    size_bytes: Annotated[int, Field(ge=0)]


class ListingPage(Document):
    """Objects in key order; with ``more`` the next page begins behind the last one's key."""

    objects: Annotated[tuple[Listed, ...], Field(max_length=PAGE)]
    more: bool


class Deleted(Document):
    """How many objects there were."""

    deleted: Annotated[int, Field(ge=0)]


class UploadPlan(Document):
    """A large object that is about to be sent."""

    part_size_bytes: Annotated[int, Field(ge=LEAST_PART_BYTES, le=MOST_PART_BYTES)]
    """Of every part but the last, which is no larger."""


class BegunUpload(Document):
    """Where its parts go."""

    upload_id: Annotated[str, Field(min_length=1, max_length=1024)]
    direct: bool
    """To URLs that the broker hands out, not to the broker."""


class WantedUrl(Document):
    """A part that is about to be sent."""

    number: Annotated[int, Field(ge=1, le=MOST_PARTS)]
    size_bytes: Annotated[int, Field(ge=1, le=MOST_PART_BYTES)]


class PartUrl(Document):
    """Good for minutes, for this part and this length."""

    url: Annotated[str, Field(min_length=1, max_length=8192)]


class SentPart(Document):
    """What a part is known by."""

    etag: Annotated[str, Field(min_length=1, max_length=256)]


class SentUpload(Document):
    """All parts that were sent."""

    etags: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1)]
    """From the first part on."""
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    """Of the whole object, as its writer read it."""
