"""A small API server on loopback, for faults that a real one does not produce on demand.

Keeps namespaced objects of any kind: create, get, list (label selectors, pages), watch (resource versions,
bookmarks), merge patch, replace, delete (preconditions, propagation, graceful for pods), pod logs. Nothing acts on
the objects: a test does, or :mod:`tests.stand_ins.kubernetes_machinery`. A fake proves our logic, not Kubernetes.
"""

import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from typing import Literal
from urllib.parse import parse_qs
from urllib.parse import urlsplit

from kubernetes.client import Configuration

from deploy.kubernetes.client import KubernetesClient

Object = dict[str, Any]
Key = tuple[str, str, str]
"""API version, plural, namespace."""
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?"
)
BOOKMARK_S = 0.2


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to the next ``times`` requests of one sort."""

    method: str
    """``WATCH`` is a GET that watches."""
    plural: str
    action: Literal["status", "cut", "lose_answer"]
    """Answer with ``status``; end the connection before anything is done; or after it was done."""
    status: int = 500
    retry_after: str | None = None
    times: int = 1


class Refusal(Exception):  # noqa: N818
    """The answer is an error."""

    def __init__(self, status: int, reason: str, message: str = "scripted") -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": message,
        }


class FakeCluster:
    """The objects and the faults. Tests change both while the server runs."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.collections: dict[Key, dict[str, Object]] = {}
        self.absent: set[str] = set()
        """Plurals of kinds that this cluster does not have."""
        self.held: set[str] = set()
        """Plurals of kinds whose deleted objects stay until :meth:`expunge`; with a kubelet, pods."""
        self.faults: list[Fault] = []
        self.logs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.ahead_s = 0.0
        """How far the cluster's clock is ahead of this machine's."""
        self.partitioned = threading.Event()
        self.watch_cuts = 0
        self._version = 100
        self._history: list[tuple[int, Key, str, Object]] = []
        self._compacted = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._closing = threading.Event()

    # ---- the server -------------------------------------------------------------------------

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self.partitioned.clear()
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def client(self, *, timeout_s: float = 5.0) -> KubernetesClient:
        return KubernetesClient(Configuration(host=self.url), timeout_s=timeout_s)

    @contextmanager
    def partition(self) -> Iterator[None]:
        """Packets are dropped: nobody hears anything, and no request arrives."""
        self.partitioned.set()
        try:
            yield
        finally:
            self.partitioned.clear()

    def fail(
        self, method: str, plural: str, *, status: int, times: int = 1, retry_after: str | None = None
    ) -> None:
        fault = Fault(
            method=method, plural=plural, action="status", status=status, times=times, retry_after=retry_after
        )
        with self.changed:
            self.faults.append(fault)

    def cut(self, method: str, plural: str, *, times: int = 1) -> None:
        with self.changed:
            self.faults.append(Fault(method=method, plural=plural, action="cut", times=times))

    def lose_answer(self, method: str, plural: str, *, times: int = 1) -> None:
        with self.changed:
            self.faults.append(Fault(method=method, plural=plural, action="lose_answer", times=times))

    def cut_watches(self) -> None:
        """Every watch that is open breaks off."""
        with self.changed:
            self.watch_cuts += 1
            self.changed.notify_all()

    def next_fault(self, method: str, plural: str) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if (fault.method, fault.plural) == (method, plural) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def compact(self) -> None:
        """Forget the past: watches that begin there, or go on, are Gone."""
        with self.changed:
            self._version += 1
            self._compacted = self._version
            self._history.clear()
            self.changed.notify_all()

    # ---- the objects, for tests -------------------------------------------------------------

    def now(self) -> float:
        return time.time() + self.ahead_s

    def timestamp(self, at: float | None = None) -> str:
        moment = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def all(self, plural: str) -> dict[str, Object]:
        """Copies of all objects of a kind, by name, of all namespaces."""
        with self.changed:
            return {
                name: copy.deepcopy(found)
                for (_, kind, _), objects in self.collections.items()
                if kind == plural
                for name, found in objects.items()
            }

    def update(self, plural: str, name: str, change: Callable[[Object], None]) -> Object:
        """Change an object in place, status and all, as a controller does."""
        with self.changed:
            key = self._key_of(plural, name)
            found = copy.deepcopy(self.collections[key][name])
            change(found)
            return self._store(key, found, "MODIFIED")

    def expunge(self, plural: str, name: str) -> None:
        """The object is gone now, and what it owns follows."""
        with self.changed:
            self._remove(self._key_of(plural, name), name)

    def _key_of(self, plural: str, name: str) -> Key:
        return next(key for key, found in self.collections.items() if key[1] == plural and name in found)

    # ---- the verbs --------------------------------------------------------------------------

    def create(self, key: Key, given: Object) -> Object:
        with self.changed:
            made = copy.deepcopy(given)
            metadata = made.setdefault("metadata", {})
            name = metadata.get("name") or f"{metadata.get('generateName', '')}{uuid.uuid4().hex[:5]}"
            if name in self.collections.get(key, {}):
                raise Refusal(409, "AlreadyExists", f'{key[1]} "{name}" already exists')
            metadata |= {
                "name": name,
                "namespace": key[2],
                "uid": str(uuid.uuid4()),
                "creationTimestamp": self.timestamp(),
                "generation": 1,
            }
            made.setdefault("status", {})
            return self._store(key, made, "ADDED")

    def get(self, key: Key, name: str) -> Object:
        with self.changed:
            found = self.collections.get(key, {}).get(name)
            if found is None:
                raise Refusal(404, "NotFound", f'{key[1]} "{name}" not found')
            return copy.deepcopy(found)

    def page(self, key: Key, selector: str, limit: int, offset: int) -> tuple[list[Object], int, int | None]:
        """Objects, resource version, and where the next page begins."""
        with self.changed:
            chosen = [each for each in self.collections.get(key, {}).values() if matches(each, selector)]
            end = offset + limit if limit else len(chosen)
            page = copy.deepcopy(chosen[offset:end])
            return page, self._version, end if end < len(chosen) else None

    def patch(self, key: Key, name: str, change: Object, *, status_only: bool) -> Object:
        with self.changed:
            before = self.get(key, name)
            self._check(before, change.get("metadata", {}))
            if status_only:
                change = {"status": change.get("status", {})}
            return self._store(key, merge(before, change), "MODIFIED")

    def replace(self, key: Key, name: str, given: Object) -> Object:
        with self.changed:
            before = self.get(key, name)
            self._check(before, given.get("metadata", {}))
            return self._store(
                key, {**given, "metadata": {**before["metadata"], **given["metadata"]}}, "MODIFIED"
            )

    def delete(self, key: Key, name: str, options: Object) -> Object:
        with self.changed:
            found = self.get(key, name)
            self._check(found, options.get("preconditions", {}))
            dependents = self._dependents(found["metadata"]["uid"])
            foreground = options.get("propagationPolicy") == "Foreground" and bool(dependents)
            if key[1] in self.held or foreground:
                metadata = found["metadata"]
                grace = options.get("gracePeriodSeconds")
                spec_grace = found.get("spec", {}).get("terminationGracePeriodSeconds", 30)
                given = metadata.get("deletionGracePeriodSeconds", spec_grace if grace is None else grace)
                metadata["deletionGracePeriodSeconds"] = min(given, given if grace is None else grace)
                metadata.setdefault("deletionTimestamp", self.timestamp())
                if foreground:
                    metadata["finalizers"] = ["foregroundDeletion"]
                found = self._store(key, found, "MODIFIED")
                for other_key, other in dependents if foreground else []:
                    self.delete(other_key, other, {})
            else:
                self._remove(key, name)
            return found

    def events_since(self, key: Key, version: int) -> list[tuple[int, str, Object]] | None:
        """None when that is too long ago."""
        with self.changed:
            if version < self._compacted:
                return None
            return [(at, kind, each) for at, of, kind, each in self._history if at > version and of == key]

    def current_version(self) -> int:
        with self.changed:
            return self._version

    def _check(self, found: Object, wanted: Object) -> None:
        for field in ("resourceVersion", "uid"):
            if field in wanted and wanted[field] != found["metadata"][field]:
                raise Refusal(
                    409, "Conflict", f"the {field} is {found['metadata'][field]}, not {wanted[field]}"
                )

    def _store(self, key: Key, made: Object, event: str) -> Object:
        self._version += 1
        made["metadata"]["resourceVersion"] = str(self._version)
        self.collections.setdefault(key, {})[made["metadata"]["name"]] = made
        self._tell(key, event, made)
        return copy.deepcopy(made)

    def _remove(self, key: Key, name: str) -> None:
        gone = self.collections[key].pop(name)
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell(key, "DELETED", gone)
        for other_key, other in self._dependents(gone["metadata"]["uid"]):
            self.delete(other_key, other, {})
        for owner_key, objects in list(self.collections.items()):
            for owner in [each for each in objects.values() if each["metadata"].get("finalizers")]:
                if not self._dependents(owner["metadata"]["uid"]):
                    self._remove(owner_key, owner["metadata"]["name"])

    def _tell(self, key: Key, event: str, about: Object) -> None:
        self._history.append((self._version, key, event, copy.deepcopy(about)))
        self.changed.notify_all()

    def _dependents(self, uid: str) -> list[tuple[Key, str]]:
        return [
            (key, name)
            for key, objects in self.collections.items()
            for name, each in objects.items()
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", []))
        ]


def matches(found: Object, selector: str) -> bool:
    """``a=b``, ``a in (b,c)``, joined by commas."""
    labels = found["metadata"].get("labels") or {}
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        name, among, values = part.partition(" in ")
        if among:
            if labels.get(name.strip()) not in [each.strip() for each in values.strip(" ()").split(",")]:
                return False
        else:
            name, _, value = part.partition("=")
            if labels.get(name) != value:
                return False
    return True


def merge(before: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict) or not isinstance(before, dict):
        return copy.deepcopy(change)
    after = dict(before)
    for name, value in change.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = merge(after.get(name, {}), value)
    return after


def _handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.cluster = cluster
    return Handler


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: FakeCluster

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.cluster.now() if timestamp is None else timestamp, usegmt=True)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self._query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self._body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self._wait_out_partition():
            return
        found = PATH.fullmatch(url.path)
        method = "WATCH" if self._query.get("watch") == "true" else self.command
        self.cluster.requests.append((method, url.path))
        self.cluster.tokens.add(self.headers.get("Authorization"))
        try:
            if found is None or found["plural"] in self.cluster.absent:
                raise Refusal(404, "NotFound", "the server could not find the requested resource")
            fault = self.cluster.next_fault(method, found["plural"])
            if fault is not None and fault.action == "cut":
                self.close_connection = True
                return
            if fault is not None and fault.action == "status":
                self._fail(fault)
                return
            answer = self._answer(found, method)
        except Refusal as refusal:
            self._send(refusal.status, refusal.body)
            return
        if fault is not None:
            self.close_connection = True
        elif answer is not None:
            self._send(201 if method == "POST" else 200, answer)

    def _wait_out_partition(self) -> bool:
        """Returns whether this request was lost in one."""
        if not self.cluster.partitioned.is_set():
            return False
        while self.cluster.partitioned.is_set():
            time.sleep(0.02)
        self.close_connection = True
        return True

    def _answer(self, found: re.Match[str], method: str) -> Object | bytes | None:
        group, version, name = found["group"], found["version"], found["name"]
        key = (f"{group}/{version}" if group else version, found["plural"], found["namespace"])
        if method == "WATCH":
            self._watch(key)
            return None
        if method == "GET":
            return self._get(key, name, found["subresource"])
        if method == "PATCH":
            return self._patch(key, name, found["subresource"])
        verbs = {"POST": self.cluster.create, "PUT": self.cluster.replace, "DELETE": self.cluster.delete}
        return verbs[method](*([key] if method == "POST" else [key, name]), self._body)

    def _get(self, key: Key, name: str | None, subresource: str | None) -> Object | bytes:
        if name is None:
            return self._list(key)
        return self._log(key, name) if subresource == "log" else self.cluster.get(key, name)

    def _patch(self, key: Key, name: str, subresource: str | None) -> Object:
        if subresource == "scale":
            self._body = {"spec": {"replicas": self._body["spec"]["replicas"]}}
        return self.cluster.patch(key, name, self._body, status_only=subresource == "status")

    def _list(self, key: Key) -> Object:
        offset = int(self._query.get("continue", "0"))
        objects, version, rest = self.cluster.page(
            key, self._query.get("labelSelector", ""), int(self._query.get("limit", "0")), offset
        )
        metadata = {"resourceVersion": str(version)} | ({} if rest is None else {"continue": str(rest)})
        return {"apiVersion": key[0], "kind": "List", "metadata": metadata, "items": objects}

    def _log(self, key: Key, name: str) -> bytes:
        pod = self.cluster.get(key, name)
        if pod["status"].get("phase", "Pending") == "Pending":
            raise Refusal(400, "BadRequest", "container is waiting to start")
        lines = self.cluster.logs.get(name, b"").splitlines(keepends=True)
        return b"".join(lines[-int(self._query.get("tailLines", "1000")) :])

    def _watch(self, key: Key) -> None:
        version = int(self._query["resourceVersion"])
        selector = self._query.get("labelSelector", "")
        ends_at = time.monotonic() + float(self._query.get("timeoutSeconds", "300"))
        cuts = self.cluster.watch_cuts
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while time.monotonic() < ends_at and not self.cluster.closing:
            if self.cluster.partitioned.is_set():
                time.sleep(0.02)
                continue
            if self.cluster.watch_cuts != cuts:
                self.close_connection = True
                return
            events = self.cluster.events_since(key, version)
            if events is None:
                self._event("ERROR", Refusal(410, "Expired", "too old resource version").body)
                break
            for at, kind, about in events:
                version = at
                if matches(about, selector):
                    self._event(kind, about)
            if not events:
                with self.cluster.changed:
                    woken = self.cluster.changed.wait(min(BOOKMARK_S, max(0.0, ends_at - time.monotonic())))
                    current = self.cluster.current_version()
                if not woken and self.cluster.events_since(key, version) == []:
                    version = max(version, current)
                    if not self.cluster.partitioned.is_set():
                        self._event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind: str, about: Object) -> None:
        line = json.dumps({"type": kind, "object": about}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.flush()

    def _fail(self, fault: Fault) -> None:
        body = Refusal(fault.status, {409: "Conflict", 410: "Expired"}.get(fault.status, "Scripted")).body
        self._send(fault.status, body, retry_after=fault.retry_after)

    def _send(self, status: int, answer: Object | bytes, *, retry_after: str | None = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client has gone away
