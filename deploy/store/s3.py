"""S3, or any server that speaks its protocol and honours ``If-None-Match: *``, as object store.

Covers: retries within bounds, answers that were lost, connections that break in the middle, servers that
check nothing (our own SHA-256 is of what was read from the caller, whatever the server says).
Does not cover: servers that ignore ``If-None-Match`` (put-once would overwrite), and credentials without
``s3:ListBucket``, for whom S3 calls a missing object forbidden.
"""

import itertools
import random
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import Final

from botocore.exceptions import ClientError

from deploy.contract.document import StoredFile
from deploy.store.content import CHUNK_BYTES
from deploy.store.content import Tally
from deploy.store.content import equal
from deploy.store.content import from_first
from deploy.store.content import parts_of
from deploy.store.key import deleted_prefix_parts
from deploy.store.key import is_part
from deploy.store.key import key_parts
from deploy.store.key import prefix_parts
from deploy.store.key import written_key_parts
from deploy.store.multipart import MultipartUpload
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3_check import S3Check
from deploy.store.s3_client import s3_client
from deploy.store.s3_direct import DirectObject
from deploy.store.s3_errors import error_code
from deploy.store.s3_errors import s3_errors
from deploy.store.s3_settings import S3Settings
from deploy.store.streamed import StreamedStore

STALE_AFTER_S: Final = 86_400.0

_DELETE_BATCH: Final = 1000
"""The limit of S3's DeleteObjects."""
_CONFLICTS: Final = 10
"""Tries of a conditional PUT that S3 answers with 409; together they wait some 20 s at most."""
_LONGEST_WAIT_S: Final = 4.0


class S3Store(StreamedStore):
    """An :class:`deploy.store.protocol.ObjectStore` below a prefix of a bucket, which must exist."""

    def __init__(self, bucket: str, prefix: str = "", settings: S3Settings | None = None) -> None:
        """Open nothing yet; ``prefix`` has no slash at its ends.

        Raises:
            StoreError: boto3 cannot make a client of the settings.
        """
        self._bucket = bucket
        self._above = f"{prefix}/" if prefix else ""
        self._settings = settings or S3Settings.from_environment()
        if "." in bucket and self._settings.addressing == "auto":
            # No certificate of AWS is good for bucket.with.dots.s3.amazonaws.com.
            self._settings = replace(self._settings, addressing="path")
        super().__init__(
            part_size_bytes=self._settings.part_size_bytes, max_concurrency=self._settings.max_concurrency
        )
        self._in_bucket = {"Bucket": bucket, **self._settings.owner}
        self._bucket_seen = False
        self._checked = False
        try:
            with s3_errors(self.uri):
                self._client = s3_client(self._settings)
        except ValueError as error:
            raise StoreError(f"{self.uri}: {error}") from error

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._above}".rstrip("/")

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object unless one exists; see the protocol."""
        written_key_parts(key)
        for attempt in range(_CONFLICTS):
            verdict = self._put_if_none(key, data)
            if verdict == "stored":
                return True
            if verdict == "exists":
                try:
                    # Equal bytes are ours: an earlier try arrived, only its answer did not.
                    return equal(self.read(key), data)
                except ObjectMissing:
                    continue  # deleted meanwhile
            time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, 0.05 * 2**attempt)))  # noqa: S311 - jitter
        raise StoreUnavailable(f"{self._uri(key)}: {_CONFLICTS} conditional writes met a concurrent one")

    def info(self, key: str) -> ObjectInfo | None:
        """Size of an object, or None."""
        key_parts(key)
        try:
            with s3_errors(self._uri(key)):
                answer = self._client.head_object(**self._named(key))
        except ObjectMissing:
            self._check_bucket()
            return None
        return ObjectInfo(key=key, size_bytes=answer["ContentLength"])

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects below a string prefix in key order; see the protocol."""
        prefix_parts(prefix)
        return (info for info in self._list(prefix, after) if _is_key(info.key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        key_parts(key)
        with s3_errors(self._uri(key)):
            self._client.delete_object(**self._named(key))

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, which ends with a slash, a thousand a request."""
        deleted_prefix_parts(prefix)
        deleted = 0
        listed = self._list(prefix)
        while batch := [info.key for info in itertools.islice(listed, _DELETE_BATCH)]:
            try:
                self._delete_batch(prefix, batch)
            except StoreRefused:
                # Some servers have no DeleteObjects, or take it for a deed on the bucket (Ceph 16).
                for key in batch:
                    with s3_errors(self._uri(key)):
                        self._client.delete_object(**self._named(key))
            deleted += len(batch)
        return deleted

    def _delete_batch(self, prefix: str, keys: Sequence[str]) -> None:
        objects = [{"Key": self._above + key} for key in keys]
        with s3_errors(self._uri(prefix)):
            answer = self._client.delete_objects(
                **self._in_bucket, Delete={"Objects": objects, "Quiet": True}
            )
        for failed in answer.get("Errors", ())[:1]:
            raise StoreError(f"s3://{self._bucket}/{failed.get('Key')}: {failed.get('Message')}")

    def sweep(self, *, older_than_s: float = STALE_AFTER_S) -> int:
        """Abort multipart uploads that crashed writers left unfinished; returns how many.

        A lifecycle rule of the bucket does the same; this is for servers without one.
        """
        aborted = 0
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        with s3_errors(self.uri):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(**self._in_bucket, Prefix=self._above):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < oldest:
                        self._client.abort_multipart_upload(
                            **self._in_bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        aborted += 1
        return aborted

    def check(self) -> None:
        """See :class:`deploy.store.checking.Checked`. What has passed once is not done again."""
        if not self._checked:
            S3Check(
                client=self._client, bucket=self._bucket, above=self._above, settings=self._settings
            ).run()
            self._checked = True

    def presigned_get(self, key: str, *, expires_s: int) -> str:
        """A URL that GETs the object; see :class:`deploy.store.direct.DirectTransfer`, as for what follows."""
        key_parts(key)
        return self._direct(key).url_of_get(expires_s=expires_s)

    def begin_upload(self, key: str) -> str:
        """The id of a new upload in parts."""
        written_key_parts(key)
        return self._direct(key).begin()

    def presigned_parts(
        self,
        key: str,
        upload_id: str,
        numbers: Iterable[int],
        *,
        expires_s: int,
        lengths: Mapping[int, int] | None = None,
    ) -> dict[int, str]:
        """URLs that PUT parts, by number."""
        written_key_parts(key)
        direct, lengths = self._direct(key), lengths or {}
        return {
            number: direct.url_of_part(upload_id, number, length=lengths.get(number), expires_s=expires_s)
            for number in numbers
        }

    def complete_upload(self, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object visible."""
        written_key_parts(key)
        self._direct(key).complete(upload_id, etags)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts of an upload away."""
        written_key_parts(key)
        self._direct(key).abort(upload_id)

    def _direct(self, key: str) -> DirectObject:
        return DirectObject(
            client=self._client,
            bucket=self._bucket,
            key=self._above + key,
            owner=self._settings.owner,
            write_options=self._settings.write_options(self._above + key),
        )

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._above}{key}"

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._above + key, **self._settings.owner}

    def _written(self, key: str) -> dict[str, Any]:
        return {**self._named(key), **self._settings.write_options(self._above + key)}

    def _put(self, key: str, chunks: Iterable[bytes], *, part_size_bytes: int, in_flight: int) -> StoredFile:
        tally = Tally()
        parts = parts_of(tally.counted(chunks), part_size_bytes)
        first = [next(parts, bytearray())]
        if len(first[0]) < part_size_bytes:
            with s3_errors(self._uri(key)):
                self._client.put_object(**self._written(key), Body=first[0])
        else:
            upload = MultipartUpload(
                client=self._client,
                named=self._named(key),
                write_options=self._settings.write_options(self._above + key),
                in_flight=in_flight,
            )
            upload.send(from_first(first, parts))
        return StoredFile(name=key.rpartition("/")[2], size_bytes=tally.size_bytes, sha256=tally.sha256)

    def _put_if_none(self, key: str, data: bytes) -> str:
        """One conditional PUT: ``stored``, ``exists`` or ``conflict``."""
        with s3_errors(self._uri(key)):
            try:
                self._client.put_object(**self._written(key), Body=data, IfNoneMatch="*")
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 412:
                    return "exists"
                if error_code(error) == "ConditionalRequestConflict":
                    return "conflict"
                raise
        return "stored"

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """Chunks of a range; a connection that breaks is taken up again where it broke."""
        body, version = self._open(key, start, end, {})
        yield b""  # the caller takes this one, so that what follows always reaches ``finally``
        for attempt in itertools.count(1):
            try:
                for chunk in _body_chunks(body, self._uri(key)):
                    start += len(chunk)
                    yield chunk
                return
            except StoreUnavailable:
                if attempt >= self._settings.max_attempts:
                    raise
            body, _ = self._open(key, start, end, version)

    def _open(
        self, key: str, start: int, end: int | None, version: dict[str, str]
    ) -> tuple[Any, dict[str, str]]:
        """The body of a range (None for an empty one), and what pins a later request to the same bytes."""
        if end is not None and start >= end:
            if self.info(key) is None:
                raise ObjectMissing(f"{self._uri(key)}: no such object")
            return None, version
        whole = start == 0 and end is None
        wanted = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        with s3_errors(self._uri(key)):
            try:
                answer = self._client.get_object(**self._named(key), **wanted, **version)
            except ClientError as error:
                if error_code(error) == "InvalidRange":  # begins behind the end of the object
                    return None, version
                raise
        return answer["Body"], {"IfMatch": answer["ETag"]}

    def _list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Whatever lies below the prefix, also what no key of ours can name."""
        token = {"StartAfter": self._above + after} if after else {}
        while True:
            with s3_errors(self._uri(prefix)):
                page = self._client.list_objects_v2(**self._in_bucket, Prefix=self._above + prefix, **token)
            for entry in page.get("Contents", ()):
                yield ObjectInfo(key=entry["Key"].removeprefix(self._above), size_bytes=entry["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _check_bucket(self) -> None:
        """A HEAD that finds nothing has no body, so it cannot say whether the bucket is missing too."""
        if self._bucket_seen:
            return
        try:
            with s3_errors(f"s3://{self._bucket}"):
                self._client.head_bucket(**self._in_bucket)
        except ObjectMissing as error:
            message = f"s3://{self._bucket}: the bucket does not exist"
            raise StoreRefused("bucket_missing", message) from error
        self._bucket_seen = True


def _body_chunks(body: Any, uri: str) -> Iterator[bytes]:
    if body is None:
        return
    try:
        while True:
            with s3_errors(uri):
                chunk = body.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        body.close()


def _is_key(key: str) -> bool:
    """Whether ``key`` is one of ours, not the mark of an empty folder that some console has left."""
    return all(map(is_part, key.split("/")))
