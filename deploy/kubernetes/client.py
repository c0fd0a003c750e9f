"""Talks to the API server through the official client: every call has a timeout and fails in one of our errors.

Objects are plain JSON in and out. The client's models cost milliseconds an object, and drop what they do not know.
Nothing is retried here: whoever asks knows whether asking again is right.
"""

import json
import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from typing import Final
from typing import Literal

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient
from kubernetes.client import ApiException
from kubernetes.client import Configuration

from deploy.kubernetes.errors import HistoryGone
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.errors import KubernetesOverloaded
from deploy.kubernetes.errors import KubernetesRefused
from deploy.kubernetes.errors import KubernetesUnavailable
from deploy.kubernetes.errors import ObjectChanged
from deploy.kubernetes.errors import ObjectExists
from deploy.kubernetes.errors import ObjectGone
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.kinds import Kind
from deploy.kubernetes.stream import EventStream

Object = dict[str, Any]
"""A Kubernetes object as JSON."""
Propagation = Literal["Background", "Foreground", "Orphan"]
PAGE: Final = 500
"""Objects of one answer to a listing."""
CONNECTIONS: Final = 16
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What there was at one resource version."""

    objects: tuple[Object, ...]
    resource_version: str


class KubernetesClient:
    """One API server. Thread-safe.

    Args:
        configuration: of the official client.
        timeout_s: of connecting, and of each wait for an answer.
    """

    def __init__(self, configuration: Configuration, *, timeout_s: float = 10.0) -> None:
        # Redirects and repetitions are decided by us: a POST that urllib3 repeats may have happened.
        configuration.retries = False
        configuration.connection_pool_maxsize = CONNECTIONS
        self._api = ApiClient(configuration)
        self._api.user_agent = "temper"
        self._timeout_s = timeout_s
        self._server_ahead_s: float | None = None

    def server_now(self) -> float:
        """Unix seconds by the API server's clock, so that its timestamps are compared with no other clock."""
        ahead_s = self._server_ahead_s
        return time.time() if ahead_s is None else time.monotonic() + ahead_s

    def create(self, kind: Kind, namespace: str, manifest: Mapping[str, Any]) -> Object:
        """Create an object and return it as stored. Raises ObjectExists, KubernetesError."""
        return self._object("POST", kind.path(namespace), body=dict(manifest), creates=True)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object. Raises ObjectGone, KubernetesError."""
        return self._object("GET", kind.path(namespace, name))

    def list(self, kind: Kind, namespace: str, *, selector: str) -> Listing:
        """All objects that the selector picks. Raises HistoryGone when it took too long, KubernetesError."""
        found: list[Object] = []
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            page = self._object("GET", kind.path(namespace), query=query)
            found += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(objects=tuple(found), resource_version=metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    def watch(
        self,
        kind: Kind,
        namespace: str,
        *,
        selector: str,
        resource_version: str,
        lasts_s: int,
        silence_s: float,
    ) -> EventStream:
        """Changes since a resource version, with bookmarks, for at most ``lasts_s``.

        Args:
            kind: of the objects.
            namespace: theirs.
            selector: picks them.
            resource_version: of a listing or of the last event.
            lasts_s: after which the server ends the watch.
            silence_s: after which a connection that says nothing counts as dead.

        Raises:
            HistoryGone: the version is too old.
            KubernetesError: anything else.
        """
        query = {
            "labelSelector": selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(lasts_s),
        }
        response = self._send("GET", kind.path(namespace), query=query, read_timeout_s=silence_s)
        if response.status != 200:
            raise _error(response, _read(response), creates=False)
        return EventStream(response)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Object:
        """Merge into an object; a ``metadata.resourceVersion`` in the change is a precondition.

        Raises:
            ObjectGone: there is none.
            ObjectChanged: the precondition does not hold.
            KubernetesError: anything else.
        """
        path = kind.path(namespace, name, subresource)
        return self._object("PATCH", path, body=dict(change), content_type=MERGE_PATCH)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        propagation: Propagation = "Background",
        grace_s: int | None = None,
        uid: str | None = None,
    ) -> bool:
        """Delete an object, only the one with this uid if given. Returns False when there is none.

        Raises KubernetesError.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self._object("DELETE", kind.path(namespace, name), body=options)
        except ObjectGone:
            return False
        except ObjectChanged:
            if uid is None:
                raise
            return False  # the name belongs to another object by now
        return True

    def log(self, namespace: str, pod: str, *, container: str, lines: int, limit_bytes: int) -> bytes:
        """The last lines of a container's output. Raises ObjectGone, KubernetesError."""
        # limitBytes would keep the beginning of those lines: the end is what matters, so it is cut here.
        query = {"container": container, "tailLines": str(lines)}
        response = self._send("GET", PODS.path(namespace, pod, "log"), query=query)
        if response.status != 200:
            raise _error(response, _read(response), creates=False)
        return _read_end(response, limit_bytes)

    def close(self) -> None:
        """Drop idle connections."""
        self._api.close()

    def _object(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        creates: bool = False,
    ) -> Object:
        response = self._send(method, path, query=query, body=body, content_type=content_type)
        data = _read(response)
        if response.status >= 300:
            raise _error(response, data, creates=creates)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise KubernetesUnavailable(f"{method} {path}: the answer is no JSON") from error
        if not isinstance(answer, dict):
            raise KubernetesUnavailable(f"{method} {path}: the answer is no object")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        read_timeout_s: float | None = None,
    ) -> urllib3.HTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            timeouts = (self._timeout_s, read_timeout_s or self._timeout_s)
            response = self._api.call_api(*request, _request_timeout=timeouts).response
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise KubernetesUnavailable(f"{method} {path}: {error}") from error
        self._hear_clock(response.headers.get("Date"))
        return response

    def _hear_clock(self, date: str | None) -> None:
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        self._server_ahead_s = told - time.monotonic()


def connect(*, kubeconfig: str | None = None, timeout_s: float = 10.0) -> KubernetesClient:
    """A client for the cluster that this process runs in, or for the one that a kubeconfig file names.

    Raises:
        KubernetesError: neither is to be had.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise KubernetesError(f"cannot tell which cluster to use: {error}") from error
    return KubernetesClient(configuration, timeout_s=timeout_s)


def moment(timestamp: str | None) -> float | None:
    """Unix seconds of a timestamp of the API server."""
    if not timestamp:
        return None
    try:
        return datetime.fromisoformat(timestamp).astimezone(UTC).timestamp()
    except ValueError:
        return None


def _read(response: urllib3.HTTPResponse) -> bytes:
    try:
        return response.read()  # type: ignore[no-any-return]
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KubernetesUnavailable(f"the answer broke off: {error}") from error
    finally:
        response.release_conn()


def _read_end(response: urllib3.HTTPResponse, limit_bytes: int) -> bytes:
    """The last bytes of an answer of any length."""
    end = b""
    try:
        for chunk in _chunks(response):
            end = (end + chunk)[-limit_bytes:]
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KubernetesUnavailable(f"the log broke off: {error}") from error
    finally:
        response.release_conn()
    return end


def _chunks(response: urllib3.HTTPResponse) -> Iterator[bytes]:
    yield from response.stream(64 * 1024)


def _error(response: urllib3.HTTPResponse, data: bytes, *, creates: bool) -> KubernetesError:
    """What an answer that is not 2xx means."""
    try:
        said = json.loads(data)
        message, reason = str(said.get("message")), str(said.get("reason"))
    except (ValueError, AttributeError):
        message, reason = data[:200].decode(errors="replace"), ""
    text = f"{response.status} {reason}: {message}"
    match response.status:
        case 404:
            return ObjectGone(text)
        case 409:
            return ObjectExists(text) if creates and reason == "AlreadyExists" else ObjectChanged(text)
        case 410:
            return HistoryGone(text)
        case 429:
            after = response.headers.get("Retry-After", "")
            return KubernetesOverloaded(text, retry_after_s=float(after) if after.isdecimal() else None)
        case status if 400 <= status < 500 and status not in {401, 408}:
            return KubernetesRefused(text)
    # 401 is among them: a token may have been rotated between reading and sending it.
    return KubernetesUnavailable(text)
