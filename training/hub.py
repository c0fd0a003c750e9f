"""Fetches one commit of a hub repository over one route: the hub that the operator names, and the hosts it may send to.

Covers: other hosts, however they are reached (a redirect, a name that resolves elsewhere); private addresses, which the
connection itself goes to and not a second look-up; files that a model directory may not hold; more bytes than were
announced, and other bytes. Does not cover: what is in the files; that is checked after this.
"""

import fnmatch
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import socket
import ssl
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final
from urllib.parse import SplitResult
from urllib.parse import quote
from urllib.parse import urljoin
from urllib.parse import urlsplit

from deploy.contract.addresses import Network
from deploy.contract.addresses import is_allowed
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import HubBaseModel
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_name
from training.errors import InvalidInput
from training.errors import JobError
from training.errors import PlatformFault

HUB_PATTERNS: Final = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""What is asked of a hub repository: no pickles, no Python, nothing else."""
DELIVERY_HOSTS: Final = (".hf.co",)
"""Where the public hub's large files come from."""
MAX_REDIRECTS: Final = 3
MAX_LISTING_BYTES: Final = 16 << 20
TIMEOUT_S: Final = 60.0
"""Of silence; a large file takes as long as it takes."""
_CHUNK_BYTES: Final = 1 << 20
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_THERE: Final = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRoute:
    """Where hub models are fetched from."""

    url: str
    hosts: tuple[str, ...] = DELIVERY_HOSTS
    """Names that a redirect may lead to beside the hub's own; one that begins with a dot stands for all below it."""
    networks: tuple[Network, ...] = ()
    """Private networks that the hub may be in; every other private address is refused."""
    token: str | None = None
    """Shown to the hub itself, and to nobody it redirects to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    name: str
    size_bytes: int
    digest: Any
    """A hash that has not seen anything."""
    expected: str


def hub_route(environment: Mapping[str, str]) -> HubRoute:
    """The route that ``TEMPER_HUB_*`` describes: URL, HOSTS and NETWORKS (lists with commas), TOKEN_FILE."""
    from huggingface_hub.constants import ENDPOINT

    url = environment.get("TEMPER_HUB_URL", ENDPOINT)
    hosts, networks = (environment.get(f"TEMPER_HUB_{name}") for name in ("HOSTS", "NETWORKS"))
    token_file = environment.get("TEMPER_HUB_TOKEN_FILE")
    return HubRoute(
        url=url.rstrip("/"),
        hosts=tuple(_listed(hosts)) if hosts is not None else DELIVERY_HOSTS,
        networks=tuple(ipaddress.ip_network(each) for each in _listed(networks or "")),
        token=Path(token_file).read_text().strip() if token_file else None,
    )


def _listed(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def fetch_hub_model(
    model: HubBaseModel, directory: Path, *, environment: Mapping[str, str] = os.environ
) -> None:
    """Copy the allowed files of one commit into ``directory``, every byte verified against the hub's listing.

    Raises:
        InvalidInput: the hub has no such repository or commit, or it needs a token.
        PlatformFault: the hub did not answer, or it answered with something that is not followed or not believed.
    """
    route = hub_route(environment)
    try:
        files = _list(route, model)
        needed, free = sum(file.size_bytes for file in files), shutil.disk_usage(directory).free
        if needed > free:
            message = f"{model.repo} has {needed} bytes, there is room for {free}"
            raise PlatformFault(ExitCode.DISK_FULL, "disk_full", message)
        for file in files:
            _fetch(route, model, file, directory)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PlatformFault(
            ExitCode.PLATFORM, "hub_unavailable", f"{model.repo} could not be fetched from the hub: {error}"
        ) from error


def _list(route: HubRoute, model: HubBaseModel) -> list[_Listed]:
    path = f"/api/models/{model.repo}/revision/{model.revision}?blobs=true"
    with _answer(route, model, path) as answer:
        data = answer.read(MAX_LISTING_BYTES + 1)
    if len(data) > MAX_LISTING_BYTES:
        raise _not_believed(model, f"its listing has more than {MAX_LISTING_BYTES} bytes")
    listing = json.loads(data)
    if not isinstance(listing, dict) or listing.get("sha") != model.revision:
        raise _not_believed(model, f"the listing is not of {model.revision}")
    siblings = listing.get("siblings")
    found = (
        [_described(model, each) for each in siblings if _is_wanted(each)]
        if isinstance(siblings, list)
        else []
    )
    if not found:
        raise InvalidInput(
            ExitCode.INVALID_MODEL, "invalid_model", f"{model.repo} holds no files of a model", param="model"
        )
    return found


def _is_wanted(sibling: Any) -> bool:
    name = sibling.get("rfilename") if isinstance(sibling, dict) else None
    if not isinstance(name, str) or not any(fnmatch.fnmatchcase(name, each) for each in HUB_PATTERNS):
        return False
    try:
        check_name(name)
    except ModelRefused:
        return False
    return True


def _described(model: HubBaseModel, sibling: Mapping[str, Any]) -> _Listed:
    name, size_bytes, lfs = sibling["rfilename"], sibling.get("size"), sibling.get("lfs")
    expected = lfs.get("sha256") if isinstance(lfs, dict) else sibling.get("blobId")
    if type(size_bytes) is not int or size_bytes < 0 or not isinstance(expected, str):
        raise _not_believed(model, f"{name} has no size or no hash in its listing")
    digest = hashlib.sha256()
    if not isinstance(lfs, dict):
        # Git's own name of a file's content; it is no protection against a hub that wants to deceive.
        digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    return _Listed(name=name, size_bytes=size_bytes, digest=digest, expected=expected)


def _fetch(route: HubRoute, model: HubBaseModel, file: _Listed, directory: Path) -> None:
    path = f"/{model.repo}/resolve/{model.revision}/{quote(file.name)}"
    taken = 0
    with _answer(route, model, path) as answer, (directory / file.name).open("wb") as out:
        while chunk := answer.read(_CHUNK_BYTES):
            taken += len(chunk)
            if taken > file.size_bytes:
                raise _not_believed(model, f"{file.name} is longer than the {file.size_bytes} bytes listed")
            file.digest.update(chunk)
            out.write(chunk)
    if taken != file.size_bytes or file.digest.hexdigest() != file.expected:
        raise _not_believed(model, f"{file.name} has other bytes than were listed")


def _answer(route: HubRoute, model: HubBaseModel, path: str) -> http.client.HTTPResponse:
    """A good answer to a GET, redirects followed as far as they may lead."""
    url = f"{route.url}{path}"
    for _ in range(MAX_REDIRECTS + 1):
        target = _checked(route, model, url)
        answer = _get(route, model, target)
        if answer.status == http.client.OK:
            return answer
        location = answer.headers.get("Location")
        answer.close()
        if answer.status in _NOT_THERE:
            raise InvalidInput(
                ExitCode.INVALID_MODEL,
                "model_not_found",
                f"the hub has no {model.repo} at revision {model.revision}, or it needs a token",
                param="model",
            )
        if answer.status not in _REDIRECTS or location is None:
            raise _not_believed(model, f"it answered with {answer.status}")
        url = urljoin(url, location)
    raise _not_believed(model, f"it redirects more than {MAX_REDIRECTS} times")


def _checked(route: HubRoute, model: HubBaseModel, url: str) -> SplitResult:
    target, hub = urlsplit(url), urlsplit(route.url)
    host = target.hostname or ""
    is_hub = (target.scheme, host, target.port) == (hub.scheme, hub.hostname, hub.port)
    listed = any(host.endswith(each) if each.startswith(".") else host == each for each in route.hosts)
    if not is_hub and (not listed or target.scheme != hub.scheme or target.username is not None):
        raise _not_believed(model, f"it redirects to {ascii(host)[:128]}, which is not one of its hosts")
    return target


def _get(route: HubRoute, model: HubBaseModel, target: SplitResult) -> http.client.HTTPResponse:
    host, secure = target.hostname or "", target.scheme == "https"
    port = target.port or (443 if secure else 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    plain = socket.create_connection((_address(route, model, host, port), port), timeout=TIMEOUT_S)
    connection.sock = (
        ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
    )
    headers = {"Accept-Encoding": "identity", "Connection": "close"}
    hub = urlsplit(route.url)
    if route.token is not None and (target.scheme, target.netloc) == (hub.scheme, hub.netloc):
        headers["Authorization"] = f"Bearer {route.token}"
    connection.request("GET", target.path + (f"?{target.query}" if target.query else ""), headers=headers)
    return connection.getresponse()


def _address(route: HubRoute, model: HubBaseModel, host: str, port: int) -> str:
    """The one address that is connected to; the name is not looked up again."""
    found: Sequence[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        if not is_allowed(address, route.networks):
            raise _not_believed(model, f"{ascii(host)[:128]} leads to {address}, which is not public")
    return addresses[0]


def _not_believed(model: HubBaseModel, said: str) -> JobError:
    return PlatformFault(
        ExitCode.PLATFORM, "hub_refused", f"{model.repo} was not fetched from the hub: {said}"
    )
