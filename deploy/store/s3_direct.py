"""Presigned URLs and uploads in parts that somebody else sends, for one object of S3."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from deploy.store.content import MOST_PARTS
from deploy.store.direct import LONGEST_EXPIRY_S
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3_client import S3Client
from deploy.store.s3_errors import error_code
from deploy.store.s3_errors import s3_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectObject:
    """One object. ``owner`` goes with every request of ours, but with no URL: its holder need not know it."""

    client: S3Client
    bucket: str
    key: str
    owner: Mapping[str, str]
    write_options: Mapping[str, Any]

    def url_of_get(self, *, expires_s: int) -> str:
        """A presigned GET."""
        return self._presigned("get_object", {}, expires_s)

    def url_of_part(self, upload_id: str, number: int, *, length: int | None, expires_s: int) -> str:
        """A presigned PUT of one part, of exactly ``length`` bytes where that is known."""
        _check_number(number)
        limited = {} if length is None else {"ContentLength": length}
        return self._presigned(
            "upload_part", {"UploadId": upload_id, "PartNumber": number, **limited}, expires_s
        )

    def begin(self) -> str:
        """The id of a new upload."""
        with s3_errors(self._uri):
            answer = self.client.create_multipart_upload(**self._named, **self.write_options)
        return str(answer["UploadId"])

    def complete(self, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object visible."""
        if not etags:
            raise ValueError("an upload of no parts")
        for number in etags:
            _check_number(number)
        parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
        try:
            with s3_errors(self._uri):
                try:
                    self.client.complete_multipart_upload(
                        **self._named, UploadId=upload_id, MultipartUpload={"Parts": parts}
                    )
                except ClientError as error:
                    # Asked a second time, after an answer that was lost: the upload is gone, the object is there.
                    if error_code(error) != "NoSuchUpload" or not self._is_made_of(parts):
                        raise
        except StoreUnavailable:
            if not self._is_made_of(parts):
                raise

    def abort(self, upload_id: str) -> None:
        """Throw the parts away."""
        with s3_errors(self._uri):
            try:
                self.client.abort_multipart_upload(**self._named, UploadId=upload_id)
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":
                    raise

    @property
    def _uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key, **self.owner}

    def _presigned(self, operation: str, more: dict[str, Any], expires_s: int) -> str:
        if not 1 <= expires_s <= LONGEST_EXPIRY_S:
            raise ValueError(f"expires_s: {expires_s} is not between 1 and {LONGEST_EXPIRY_S}")
        with s3_errors(self._uri):
            url = self.client.generate_presigned_url(
                operation, Params={"Bucket": self.bucket, "Key": self.key, **more}, ExpiresIn=expires_s
            )
        return str(url)

    def _is_made_of(self, parts: list[dict[str, Any]]) -> bool:
        """Whether the object that is there has the ETag that S3 gives to these parts."""
        digests = hashlib.md5(usedforsecurity=False)
        with suppress(ValueError, StoreError):
            for part in parts:
                digests.update(bytes.fromhex(part["ETag"].strip('"')))
            with s3_errors(self._uri):
                etag = self.client.head_object(**self._named)["ETag"]
            return bool(etag.strip('"') == f"{digests.hexdigest()}-{len(parts)}")
        return False


def _check_number(number: int) -> None:
    if not 1 <= number <= MOST_PARTS:
        raise ValueError(f"part number {number}: not between 1 and {MOST_PARTS}")
