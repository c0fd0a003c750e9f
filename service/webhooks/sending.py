"""One POST to a webhook's target, and nothing else that a hostile receiver could make of it.

Covers: the name is resolved once, every address is judged, and the connection goes to one of those very addresses
under the target's name (no rebinding); no redirects, no proxies, no headers but ours; one deadline over everything,
however slowly an answer drips; a bounded answer. Does not cover: what a listed host does with what it is told.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from dataclasses import field
from typing import Final
from typing import cast

from deploy.contract.addresses import Network
from deploy.contract.addresses import is_allowed
from service.webhooks.targets import Target
from service.webhooks.targets import names_loopback

TIMEOUT_S: Final = 10.0
"""In all: resolving, connecting, sending, the answer."""
MAX_ANSWER_BYTES: Final = 64 << 10
"""Head and body."""
KEPT_BYTES: Final = 1 << 10
MAX_ADDRESSES: Final = 16
RESOLVERS: Final = 8
"""Names looked up at once; the system's resolver knows no deadline."""
Resolve = Callable[[str, int], Sequence[str]]


class NotSent(Exception):  # noqa: N818 - it names a state
    """There was no answer; says why, in words for the webhook's owner."""


class Refused(NotSent):
    """Nothing was sent, for it may not go there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a receiver answered."""

    status: int
    retry_after: str | None
    body: bytes
    """Its beginning."""


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, by the system's resolver. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends to what may be sent to. Thread-safe."""

    networks: Sequence[Network] = ()
    """That the operator lists beside the public internet."""
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = resolve
    timeout_s: float = TIMEOUT_S
    _resolvers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
    )

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send ``body``, and wait for the answer.

        Raises:
            Refused: the target's name leads to where nothing may go.
            NotSent: no answer, or none that is HTTP.
        """
        deadline = time.monotonic() + self.timeout_s
        addresses = self._addresses(target, deadline)
        try:
            with _connect(addresses, target.port, deadline) as plain:
                if target.scheme == "http":
                    return _exchange(plain, target, body, headers, deadline)
                plain.settimeout(_left_s(deadline))
                with self.tls.wrap_socket(plain, server_hostname=target.host) as secure:
                    return _exchange(secure, target, body, headers, deadline)
        except ssl.SSLCertVerificationError as error:
            raise NotSent(f"its certificate is not valid: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise NotSent(f"TLS failed: {error.reason or 'the connection was cut'}") from error
        except TimeoutError as error:
            raise NotSent(f"no answer within {self.timeout_s:g} s") from error
        except http.client.HTTPException as error:
            raise NotSent("what it answered is not HTTP, or its head is too large") from error
        except OSError as error:
            raise NotSent(f"no connection: {error.strerror or 'it was cut'}") from error

    def close(self) -> None:
        """Wait for no resolver."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def _addresses(self, target: Target, deadline: float) -> Sequence[str]:
        try:
            found = self._resolvers.submit(self.resolve, target.host, target.port).result(_left_s(deadline))
        except (NotInTime, TimeoutError):
            raise NotSent("its name could not be resolved in time") from None
        except (OSError, UnicodeError):
            raise NotSent("its name cannot be resolved") from None
        # One that may be used and one that may not: whoever answers so is not to be trusted with either.
        if not found or not all(self._may_go(target, address) for address in found):
            raise Refused(
                "its name leads to an address that is not public and not listed in TEMPER_WEBHOOK_NETWORKS"
            )
        return found[:MAX_ADDRESSES]

    def _may_go(self, target: Target, address: str) -> bool:
        if target.scheme == "http":
            return names_loopback(address)
        return is_allowed(address, self.networks)


def _connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """To the first that takes the connection. Raises OSError."""
    failure = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_left_s(deadline))
        except TimeoutError:
            raise
        except OSError as error:
            failure = error
    raise failure


def _exchange(
    connected: socket.socket, target: Target, body: bytes, headers: Mapping[str, str], deadline: float
) -> Reply:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = cast(socket.socket, _Bounded(connected, deadline))
    connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
    ours = {"Host": target.authority, "Content-Length": str(len(body)), "Connection": "close"}
    for name, value in (ours | dict(headers)).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    with connection.getresponse() as response:
        return Reply(
            status=response.status, retry_after=response.getheader("retry-after"), body=_body(response)
        )


def _body(response: http.client.HTTPResponse) -> bytes:
    """What there is of it; that it breaks off changes nothing: the status was the answer."""
    body = bytearray()
    try:
        while chunk := response.read1(KEPT_BYTES):
            body += chunk[: KEPT_BYTES - len(body)]
    except (OSError, http.client.HTTPException):
        pass
    return bytes(body)


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _Bounded:
    """A connection, as far as http.client uses one, that ends at a deadline and after so many bytes."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._connected.settimeout(_left_s(self._deadline))
        self._connected.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._connected, self._deadline))

    def close(self) -> None:
        """Whoever connected closes."""


class _Incoming(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connected = connected
        self._deadline = deadline
        self._left_bytes = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        if self._left_bytes <= 0:
            raise http.client.HTTPException("too much")
        self._connected.settimeout(_left_s(self._deadline))
        count = self._connected.recv_into(buffer[: self._left_bytes])
        self._left_bytes -= count
        return count
