"""Whether a bucket does what the store needs, tried on an object that nobody else sees."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import ClientError

from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreRefused
from deploy.store.s3_client import S3Client
from deploy.store.s3_errors import s3_errors
from deploy.store.s3_settings import S3Settings

logger = logging.getLogger(__name__)
PROBES: Final = "probes/"
"""Where the objects of a check lie. One that stays, because its process was killed, is a few bytes."""
_FIRST: Final = b"the first of two"
_SECOND: Final = b"the other one"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Check:
    """One check of one prefix (``above``, with its slash) of a bucket."""

    client: S3Client
    bucket: str
    above: str
    settings: S3Settings

    def run(self) -> None:
        """List, write, write again, read, begin an upload, delete.

        Raises:
            StoreRefused: one of them does not work, or not as it must.
            StoreUnavailable: the server did not answer.
        """
        if self.settings.in_the_clear:
            logger.warning(
                "%s: the endpoint is plain HTTP: others may read and change what travels", self._where
            )
        key = f"{self.above}{PROBES}{secrets.token_hex(16)}"
        named = {"Bucket": self.bucket, "Key": key, **self.settings.owner}
        self._list()
        self._write_twice(named)
        try:
            self._read(named)
            self._upload(named)
        except StoreError:
            with suppress(StoreError):
                self._delete(named)
            raise
        self._delete(named)

    def _list(self) -> None:
        in_bucket = {"Bucket": self.bucket, **self.settings.owner}
        # Not a HEAD: its answer has no body that says what is wrong.
        with self._needing("s3:ListBucket", on_objects=False):
            self.client.list_objects_v2(**in_bucket, Prefix=self.above + PROBES, MaxKeys=1)

    def _write_twice(self, named: dict[str, str]) -> None:
        options = self.settings.write_options(named["Key"])
        with self._needing("s3:PutObject"):
            self.client.put_object(**named, **options, Body=_FIRST, IfNoneMatch="*")
        with self._needing("s3:PutObject"):
            try:
                self.client.put_object(**named, **options, Body=_SECOND, IfNoneMatch="*")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                    return
                raise
        self._delete(named)
        raise StoreRefused(
            "overwrites",
            f"{self._where}: the server ignores If-None-Match and overwrites objects that are written once;"
            " two starts of a job could both commit a result. Use one that honours it",
        )

    def _read(self, named: dict[str, str]) -> None:
        with self._needing("s3:GetObject"):
            answer = self.client.get_object(**named, Range="bytes=4-8")
            data = answer["Body"].read()
        if data != _FIRST[4:9]:
            raise StoreRefused("feature_missing", f"{self._where}: the server does not answer ranges")
        used = answer.get("ServerSideEncryption")
        if self.settings.sse not in {None, used}:
            raise StoreRefused(
                "encryption",
                f"{self._where}: TEMPER_S3_SSE is {self.settings.sse}, but the server stored"
                f" {'in the clear' if used is None else 'with ' + used}",
            )

    def _upload(self, named: dict[str, str]) -> None:
        with self._needing("s3:PutObject"):
            answer = self.client.create_multipart_upload(**named, **self.settings.write_options(named["Key"]))
        with self._needing("s3:AbortMultipartUpload"):
            self.client.abort_multipart_upload(**named, UploadId=answer["UploadId"])

    def _delete(self, named: dict[str, str]) -> None:
        with self._needing("s3:DeleteObject"):
            self.client.delete_object(**named)

    @property
    def _where(self) -> str:
        return f"s3://{self.bucket}/{self.above}".rstrip("/")

    @contextmanager
    def _needing(self, action: str, *, on_objects: bool = True) -> Iterator[None]:
        try:
            with s3_errors(self._where):
                yield
        except StoreRefused as error:
            if error.code != "not_permitted":
                raise
            resource = f"arn:aws:s3:::{self.bucket}" + (f"/{self.above}*" if on_objects else "")
            message = f"{error}; it needs {action} on {resource}"
            raise StoreRefused(error.code, message) from error
        except ObjectMissing as error:
            message = f"{self._where}: an object that was just written is not there"
            raise StoreRefused("feature_missing", message) from error
