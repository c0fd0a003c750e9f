"""Multipart uploads to S3: invisible until complete, aborted when anything goes wrong."""

import secrets
from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from typing import Final

from botocore.exceptions import ClientError

from deploy.store.content import MOST_PARTS
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3_client import S3Client
from deploy.store.s3_errors import error_code
from deploy.store.s3_errors import s3_errors

_MARK: Final = "temper-upload"
"""Metadata by which an upload recognises its own object when the answer to its completion was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartUpload:
    """One object that is sent in parts, of which ``in_flight`` travel at once and one more is held."""

    client: S3Client
    named: Mapping[str, str]
    """Bucket and key, as every request names them."""
    write_options: Mapping[str, Any]
    in_flight: int

    def send(self, parts: Iterable[bytearray]) -> None:
        """Upload all parts, then make the object visible.

        Raises:
            StoreError: nothing is visible and nothing is left behind, as far as the server still answers.
            BaseException: whatever ``parts`` raises, likewise.
        """
        mark = secrets.token_hex(16)
        with s3_errors(self._uri):
            upload_id = self.client.create_multipart_upload(
                **self.named, **self.write_options, Metadata={_MARK: mark}
            )["UploadId"]
        try:
            self._complete(upload_id, self._send_parts(upload_id, parts), mark)
        except BaseException:
            # Only after all parts have ended: one that arrives after the abort would stay, and cost.
            with suppress(StoreError):
                self._abort(upload_id)
            raise

    @property
    def _uri(self) -> str:
        return f"s3://{self.named['Bucket']}/{self.named['Key']}"

    def _send_parts(self, upload_id: str, parts: Iterable[bytearray]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        flying: deque[Future[dict[str, Any]]] = deque()
        executor = ThreadPoolExecutor(self.in_flight, thread_name_prefix="s3-part")
        try:
            for number, part in enumerate(parts, 1):
                if number > MOST_PARTS:
                    raise StoreError(f"{self._uri}: more than {MOST_PARTS} parts; use larger ones")
                if len(flying) == self.in_flight:
                    sent.append(flying.popleft().result())
                flying.append(executor.submit(self._send_part, upload_id, number, part))
            sent.extend(future.result() for future in flying)
            return sent
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _send_part(self, upload_id: str, number: int, part: bytearray) -> dict[str, Any]:
        with s3_errors(self._uri):
            answer = self.client.upload_part(**self.named, UploadId=upload_id, PartNumber=number, Body=part)
        # With a checksum where one was sent: AWS then wants it again to complete.
        checksums = {name: value for name, value in answer.items() if name.startswith("ChecksumCRC")}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def _complete(self, upload_id: str, sent: list[dict[str, Any]], mark: str) -> None:
        try:
            with s3_errors(self._uri):
                try:
                    self.client.complete_multipart_upload(
                        **self.named, UploadId=upload_id, MultipartUpload={"Parts": sent}
                    )
                except ClientError as error:
                    # A retry after a lost answer finds the upload gone because it is complete.
                    if error_code(error) != "NoSuchUpload" or not self._is_ours(mark):
                        raise
        except StoreUnavailable:
            if not self._is_ours(mark):
                raise

    def _is_ours(self, mark: str) -> bool:
        try:
            with s3_errors(self._uri):
                metadata = self.client.head_object(**self.named)["Metadata"]
        except StoreError:
            return False
        return bool(metadata.get(_MARK) == mark)

    def _abort(self, upload_id: str) -> None:
        with s3_errors(self._uri):
            self.client.abort_multipart_upload(**self.named, UploadId=upload_id)
