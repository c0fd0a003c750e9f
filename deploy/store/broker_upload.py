"""Large writes through the broker: in parts, past it where the store takes them in itself."""

from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from deploy.contract.document import sha256_hex
from deploy.store.broker_connection import BrokerConnection
from deploy.store.broker_connection import read_problem
from deploy.store.broker_wire import COMPLETE
from deploy.store.broker_wire import PARTS
from deploy.store.broker_wire import SHA256_HEADER
from deploy.store.broker_wire import UPLOADS
from deploy.store.broker_wire import BegunUpload
from deploy.store.broker_wire import PartUrl
from deploy.store.broker_wire import SentPart
from deploy.store.broker_wire import SentUpload
from deploy.store.broker_wire import UploadPlan
from deploy.store.broker_wire import WantedUrl
from deploy.store.content import MOST_PARTS
from deploy.store.content import Tally
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreUnavailable

_JSON = {"content-type": "application/json"}
_BYTES = {"content-type": "application/octet-stream"}
_REFUSED_FOR_NOW = frozenset({401, 403, 408, 429, 500, 502, 503, 504})
"""401 and 403 of the store's own server: the URL has expired, and the broker has another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUpload:
    """One object that is sent in parts, of which ``in_flight`` travel at once and one more is held."""

    connection: BrokerConnection
    named: Mapping[str, str]
    """The query that names store and key."""
    part_size_bytes: int
    in_flight: int

    def send(self, parts: Iterable[bytearray], tally: Tally) -> None:
        """Send all parts, then make the object visible.

        Args:
            parts: all of ``part_size_bytes``, the last one no larger.
            tally: of what flows through ``parts``; complete when they are.

        Raises:
            StoreError: nothing is visible and nothing is left behind, as far as the broker still answers.
            BaseException: whatever ``parts`` raises, likewise.
        """
        plan = UploadPlan(part_size_bytes=self.part_size_bytes)
        answer = self.connection.call("POST", UPLOADS, self.named, headers=_JSON, body=plan.to_bytes())
        begun = BegunUpload.from_bytes(answer.data)
        named = {**self.named, "upload": begun.upload_id}
        try:
            etags = self._send_parts(named, begun, parts)
            sent = SentUpload(etags=tuple(etags), size_bytes=tally.size_bytes, sha256=tally.sha256)
            # Asked again after a lost answer, the broker finds the object that this upload has made.
            self.connection.call("POST", COMPLETE, named, headers=_JSON, body=sent.to_bytes())
        except BaseException:
            # Only after all parts have ended: one that arrives after the abort would stay, and cost.
            with suppress(StoreError):
                self.connection.call("DELETE", UPLOADS, named)
            raise

    def _send_parts(
        self, named: Mapping[str, str], begun: BegunUpload, parts: Iterable[bytearray]
    ) -> list[str]:
        send = self._send_direct if begun.direct else self._send_through
        sent: list[str] = []
        flying: deque[Future[str]] = deque()
        executor = ThreadPoolExecutor(self.in_flight, thread_name_prefix="broker-part")
        try:
            for number, part in enumerate(parts, 1):
                if number > MOST_PARTS:
                    raise StoreError(f"{self.named['key']}: more than {MOST_PARTS} parts; use larger ones")
                if len(flying) == self.in_flight:
                    sent.append(flying.popleft().result())
                flying.append(executor.submit(send, named, number, part))
            sent.extend(future.result() for future in flying)
            return sent
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _send_through(self, named: Mapping[str, str], number: int, part: bytearray) -> str:
        headers = {**_BYTES, SHA256_HEADER: sha256_hex(bytes(part))}
        query = {**named, "number": str(number)}
        answer = self.connection.call("PUT", PARTS, query, headers=headers, body=part)
        return SentPart.from_bytes(answer.data).etag

    def _send_direct(self, named: Mapping[str, str], number: int, part: bytearray) -> str:
        wanted = WantedUrl(number=number, size_bytes=len(part)).to_bytes()

        def once() -> str:
            # A URL for every try: the last one may have expired while its part waited.
            answer = self.connection.call("POST", PARTS, named, headers=_JSON, body=wanted)
            url = PartUrl.from_bytes(answer.data).url
            response = self.connection.elsewhere("PUT", url, body=part)
            problem = read_problem(response)
            if response.status in _REFUSED_FOR_NOW:
                raise StoreUnavailable(f"{self.named['key']}: part {number} refused (HTTP {response.status})")
            etag = response.headers.get("etag")
            if not 200 <= response.status < 300 or not etag:
                said = problem[:200].decode("utf-8", errors="replace")
                raise StoreError(
                    f"{self.named['key']}: part {number} refused (HTTP {response.status}): {said}"
                )
            return str(etag)

        return self.connection.retried(once)
