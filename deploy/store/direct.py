"""What a store can do beside :class:`deploy.store.protocol.ObjectStore` when its server takes requests from others.

A holder of no credentials gets a URL that is good for one request on one key, for minutes. S3 can do this;
a directory cannot.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final
from typing import Protocol
from typing import runtime_checkable

LONGEST_EXPIRY_S: Final = 900
"""A URL that leaks is worth a quarter of an hour at most."""


@runtime_checkable
class DirectTransfer(Protocol):
    """URLs by which others read and write objects of this store without its credentials.

    Every method raises InvalidKey for a bad key and ValueError for an ``expires_s`` that is not 1 to
    ``LONGEST_EXPIRY_S``. A URL ends earlier when the credentials that signed it do.
    """

    def presigned_get(self, key: str, *, expires_s: int) -> str:
        """A URL that GETs the object, whole or by ``Range``. Nothing is asked of the server."""
        ...

    def begin_upload(self, key: str) -> str:
        """Start an upload in parts; returns its id. Nothing is visible before :meth:`complete_upload`."""
        ...

    def presigned_parts(
        self,
        key: str,
        upload_id: str,
        numbers: Iterable[int],
        *,
        expires_s: int,
        lengths: Mapping[int, int] | None = None,
    ) -> dict[int, str]:
        """URLs that PUT the parts with these numbers (1 to 10,000); the answer's ``ETag`` names what arrived.

        ``lengths`` (bytes by number) is signed into the URL of each part that it has: the server then
        refuses a body of another length.
        """
        ...

    def complete_upload(self, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object visible, of these parts in the order of their numbers.

        The same call again succeeds while the object it made is there.

        Raises:
            ValueError: no part at all, or a number that none can have.
            StoreError: a part is not there, or the upload was aborted.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts away; an upload that is not there (any more) is no error."""
        ...
