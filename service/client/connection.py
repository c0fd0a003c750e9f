"""One service over HTTP: requests, and what can go wrong with them.

Covers: answers of any size up to a limit, answers that are no JSON, a service that is not there, slow or gone in the
middle. Redirects are not followed: the key would go with them. Does not cover: proxies; the service is addressed
directly.
"""

import http.client
import json
import os
import secrets
import ssl
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 64 << 20
"""Four times the largest report.json; what is larger is not a report."""
CHUNK_BYTES: Final = 1 << 20


class ClientError(Exception):
    """The service cannot be used."""


class Unreachable(ClientError):  # noqa: N818 - it names a state
    """Nothing answers at the address, or the connection broke. Asking again may help."""


class Unusable(ClientError):  # noqa: N818
    """What answers is not this service, or is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: any status, the whole body."""

    status: int
    body: bytes

    def document(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            Unusable: it is none.
        """
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Unusable(
                f"the answer (HTTP {self.status}) is not JSON; is this a Temper service?"
            ) from error
        if not isinstance(document, dict):
            raise Unusable("the answer is not a JSON object; is this a Temper service?")
        return document

    @property
    def error_code(self) -> str | None:
        """The stable code of an error, if the body tells one."""
        try:
            error = self.document().get("error")
        except Unusable:
            return None
        code = error.get("code") if isinstance(error, dict) else None
        return code if isinstance(code, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where a service is, and the key to it. Every request opens a connection of its own."""

    url: str
    key: str | None = None

    def get(self, path: str) -> Answer:
        """Ask for ``path``.

        Raises:
            Unreachable: no answer.
            Unusable: an answer that no service of ours gives, or an address that is none.
        """
        return self._ask("GET", path)

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """Send a JSON object to ``path``. Raises as :meth:`get`."""
        body = json.dumps(document).encode()
        return self._ask("POST", path, body, {"Content-Type": "application/json"})

    def delete(self, path: str) -> Answer:
        """Delete ``path``. Raises as :meth:`get`."""
        return self._ask("DELETE", path)

    def upload(self, path: str, file: Path, *, purpose: str) -> Answer:
        """Send a file of this machine as a multipart form, in flat memory.

        Raises:
            OSError: the file cannot be read. Else as :meth:`get`.
        """
        with file.open("rb") as content:
            form = _Form(content, file.name, purpose)
            return self._ask("POST", path, form.chunks(), form.headers())

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection, prefix = self._open()
        try:
            connection.request(method, prefix + path, body, headers={**self._headers(), **(headers or {})})
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        except http.client.HTTPException as error:
            raise Unusable(f"{self.url} does not speak HTTP as a service does: {error!r}") from error
        except OSError as error:
            raise Unreachable(f"{self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if len(answer) > MAX_ANSWER_BYTES:
            raise Unusable(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        if response.length:
            # http.client is content with less than was announced when it is asked for a number of bytes.
            raise Unreachable(f"{self.url} broke off: {response.length} bytes of the answer are missing")
        if 300 <= response.status < 400:
            raise Unusable(f"{self.url} redirects to somewhere else; name the service itself")
        return Answer(status=response.status, body=answer)

    def _open(self) -> tuple[http.client.HTTPConnection, str]:
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Unusable(f"{self.url!r} is no address: {error}") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise Unusable(f"{self.url!r} is no address; it looks like http://127.0.0.1:8000")
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S), prefix
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context), prefix

    def _headers(self) -> Mapping[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "temper"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers


class _Form:
    """One file as ``multipart/form-data``, with the purpose before it, as the service wants to read it."""

    def __init__(self, content: BinaryIO, filename: str, purpose: str) -> None:
        self._content = content
        self._boundary = secrets.token_hex(16)
        # As browsers write it; a name can have quotes and line breaks.
        name = filename.encode(errors="replace").decode()
        for character, escape in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
            name = name.replace(character, escape)
        head = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = head.encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()

    def headers(self) -> dict[str, str]:
        """Type and length of the body."""
        size_bytes = len(self._head) + os.fstat(self._content.fileno()).st_size + len(self._tail)
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(size_bytes),
        }

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        yield self._head
        while chunk := self._content.read(CHUNK_BYTES):
            yield chunk
        yield self._tail
