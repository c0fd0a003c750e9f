"""HTTP to the broker: who we are, how often we try, and what its answers mean.

Covers: tokens that rotate, restarts and overload of the broker, connections that break, redirects. The token goes to
the broker alone: what it points to elsewhere is fetched through connections that never carry it.
Does not cover: proxies; the broker and the store are in the same cluster, or reached as if they were.
"""

import itertools
import json
import os
import random
import ssl
import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from typing import Final
from typing import Self
from typing import TypeVar
from urllib.parse import urlencode
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from deploy.store.broker_wire import CODE_HEADER
from deploy.store.broker_wire import FULL_CODES
from deploy.store.broker_wire import INVALID_KEY
from deploy.store.broker_wire import OBJECT_MISSING
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable

T = TypeVar("T")
Response = Any
"""urllib3's; its types do not say what we need."""

DEFAULT_TOKEN_FILE: Final = Path("/var/run/temper/token/token")
_LONGEST_WAIT_S: Final = 8.0
_LONGEST_RETRY_AFTER_S: Final = 30.0
_MOST_ERROR_BYTES: Final = 64 << 10
_FOR_NOW: Final = frozenset({401, 408, 425, 429, 500, 502, 503, 504})
"""401 too: the token is read anew for each try, and a fresh one comes with its rotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where the broker is, and how long to wait for it.

    ``max_attempts`` bounds the tries of a request (and of a download: the tries without any progress); with the
    waits between them, 8 outlive a restart of the broker. ``part_size_bytes`` is the unit of large writes,
    ``max_concurrency`` how many parts of a file travel at once.
    """

    url: str
    token_file: Path = DEFAULT_TOKEN_FILE
    ca_file: Path | None = None
    """Certificates that the broker's is checked against, instead of the system's."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_attempts: int = 8
    part_size_bytes: int = 8 << 20
    max_concurrency: int = 4

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise StoreError(f"TEMPER_BROKER_URL: {self.url!r} is not http(s)://host[:port]")
        if min(self.max_attempts, self.max_concurrency) < 1:
            raise ValueError("max_attempts and max_concurrency must be at least 1")

    @classmethod
    def from_environment(cls) -> Self | None:
        """What a launcher gives to pods; None where there is no broker.

        Raises:
            StoreError: TEMPER_BROKER_URL is not a URL.
        """
        url = os.environ.get("TEMPER_BROKER_URL")
        if not url:
            return None
        ca_file = os.environ.get("TEMPER_BROKER_CA_FILE")
        return cls(
            url=url.rstrip("/"),
            token_file=Path(os.environ.get("TEMPER_BROKER_TOKEN_FILE") or DEFAULT_TOKEN_FILE),
            ca_file=Path(ca_file) if ca_file else None,
        )


class _Later(StoreUnavailable):
    """Not now; ``after_s`` is what the other side asked for."""

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Overwritten(StoreUnavailable):
    """The object has changed since its first byte was read: going on would mix two, only a new read helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the broker that was read whole."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class BrokerConnection:
    """Connections to one broker, and to the servers that it points to. Thread-safe."""

    def __init__(self, settings: BrokerSettings) -> None:
        """Contact nobody yet.

        Raises:
            StoreError: the file of certificates cannot be used.
        """
        self.settings = settings
        timeout = urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s)
        options = {"maxsize": 16, "timeout": timeout, "retries": False}
        try:
            ours = ssl.create_default_context(cafile=settings.ca_file)
            others = ssl.create_default_context()
            if settings.ca_file is not None:  # a cluster's own store is often signed by the same authority
                others.load_verify_locations(cafile=settings.ca_file)
        except OSError as error:
            raise StoreError(f"TEMPER_BROKER_CA_FILE: {settings.ca_file}: {error}") from error
        self._broker = urllib3.PoolManager(ssl_context=ours, **options)
        self._elsewhere = urllib3.PoolManager(ssl_context=others, **options)

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray | None = None,
        expect: tuple[int, ...] = (),
    ) -> Answer:
        """One request to the broker with a small answer, tried until it is neither lost nor "not now".

        Args:
            method: of HTTP.
            path: of :mod:`deploy.store.broker_wire`.
            query: unencoded.
            headers: beside the token.
            body: sent again with every try.
            expect: statuses that are answers, although no success.

        Raises:
            StoreError: as the broker's code says; StoreUnavailable after the last try.
        """

        def once() -> Answer:
            response = self._ask(method, path, query, headers=headers, body=body)
            try:
                data = response.read()
            except HTTPError as error:
                raise _Later(f"{self.settings.url}: {error}") from error
            finally:
                response.release_conn()
            if response.status in expect or 200 <= response.status < 300:
                return Answer(status=response.status, headers=response.headers, data=data)
            raise refusal(response, data, query)

        return self.retried(once)

    def stream(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        """One GET of the broker whose answer, whatever it is, the caller reads and closes.

        Raises:
            StoreUnavailable: no answer.
        """
        return self._ask("GET", path, query, headers=headers)

    def elsewhere(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray | None = None,
    ) -> Response:
        """One request to where the broker pointed, without the token, and following nothing further.

        Raises:
            StoreUnavailable: no answer.
            StoreError: the URL is none.
        """
        if urlsplit(url).scheme not in {"http", "https"}:
            raise StoreError(f"{self.settings.url}: it points to something that is no URL")
        try:
            return self._elsewhere.request(
                method, url, headers=headers, body=body, preload_content=False, redirect=False
            )
        except HTTPError as error:
            # Never with the URL's query: it is a signature.
            raise _Later(f"{urlsplit(url).netloc}: {type(error).__name__}") from error

    def retried(self, once: Callable[[], T]) -> T:
        """What ``once`` returns, called until it raises no StoreUnavailable, within the settings' bounds."""
        for attempt in itertools.count(1):
            try:
                return once()
            except StoreUnavailable as error:
                if attempt >= self.settings.max_attempts or isinstance(error, Overwritten):
                    raise
                self.wait(attempt, error)
        raise AssertionError("unreachable")

    def wait(self, attempt: int, error: StoreUnavailable) -> None:
        """Pause before the next try: longer each time, at random, and never shorter than was asked for."""
        longest = min(_LONGEST_WAIT_S, 0.25 * 2 ** (attempt - 1))
        asked = min(error.after_s, _LONGEST_RETRY_AFTER_S) if isinstance(error, _Later) else 0.0
        time.sleep(asked + random.uniform(longest / 2, longest))  # noqa: S311 - jitter

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray | None = None,
    ) -> Response:
        url = f"{self.settings.url}{path}?{urlencode(query)}"
        sent = {"authorization": f"Bearer {self._token()}", **(headers or {})}
        try:
            return self._broker.request(
                method, url, headers=sent, body=body, preload_content=False, redirect=False
            )
        except HTTPError as error:
            raise _Later(f"{self.settings.url}: {error}") from error

    def _token(self) -> str:
        """Read for every request: the kubelet replaces it long before it expires."""
        path = self.settings.token_file
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"TEMPER_BROKER_TOKEN_FILE: {path}: {error}") from error
        if not token or not token.isprintable():
            raise StoreError(f"TEMPER_BROKER_TOKEN_FILE: {path}: there is no token in it")
        return token


@lru_cache(maxsize=8)
def broker_connection(settings: BrokerSettings) -> BrokerConnection:
    """The connection of these settings; stores share it."""
    return BrokerConnection(settings)


def refusal(response: Response, data: bytes, query: Mapping[str, str]) -> StoreError:
    """What an answer that is no success means, in the protocol's words."""
    code, detail = _problem(response, data)
    what = f"{query.get('store', '')}/{query.get('key', query.get('prefix', ''))}"
    message = f"{what}: {detail} (HTTP {response.status})"
    if response.status in _FOR_NOW:
        return _Later(message, after_s=_retry_after_s(response))
    if code == OBJECT_MISSING:
        return ObjectMissing(f"{what}: no such object")
    if code == INVALID_KEY:
        return InvalidKey(message)
    if code in FULL_CODES:
        return StoreFull(message)
    return StoreError(message)


def read_problem(response: Response) -> bytes:
    """The body of an answer that is no success, as far as it is worth reading. Closes the answer."""
    try:
        return bytes(response.read(_MOST_ERROR_BYTES))
    except HTTPError:
        return b""
    finally:
        response.close()
        response.release_conn()


def _problem(response: Response, data: bytes) -> tuple[str, str]:
    """The code and the sentence of an RFC 9457 problem; of anything else, that it is none."""
    said = {"code": response.headers.get(CODE_HEADER, ""), "message": "refused"}
    try:
        error = json.loads(data[:_MOST_ERROR_BYTES])["error"]
        said = {"code": str(error["code"]), "message": str(error["message"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return said["code"], said["message"]


def _retry_after_s(response: Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
