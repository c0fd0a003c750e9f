"""All objects of one kind that a selector picks in one namespace, kept up to date by a thread of its own.

Lists once, then watches from there, with bookmarks; lists again after 410 Gone and after any other failure, with
growing random pauses. Nobody who looks waits for the API server, and nobody is shown an old picture as a new one.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Final

from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.errors import HistoryGone
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.errors import KubernetesOverloaded
from deploy.kubernetes.errors import KubernetesUnavailable
from deploy.kubernetes.kinds import Kind
from deploy.kubernetes.stream import EventStream

logger = logging.getLogger(__name__)
WATCH_S: Final = 30
"""A watch is renewed this often, without listing again: so a quiet cluster is heard of at least this often."""
SILENCE_S: Final = 45.0
"""A connection that outlives its watch by this much without a word is dead."""
MAX_AGE_S: Final = 90.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
SYNC_S: Final = 15.0
JOIN_S: Final = 5.0


def without_managed_fields(found: Object) -> Object:
    """An object without its field ownership, which is most of its bytes and none of our business."""
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key != "managedFields"}
    return {**found, "metadata": metadata}


class WatchedObjects:
    """A picture of some objects. Thread-safe; the thread starts with the first look.

    Args:
        client: to ask.
        kind: of the objects.
        namespace: theirs.
        selector: of their labels.
        keep: what of an object is kept in memory; its metadata must be.
        gone: is shown the last state of every object that is no more. Called in the watching thread, with the
            picture locked: it must be quick and must not look at the picture.
        watch_s: how long one watch lasts.
        silence_s: after which a silent connection counts as dead.
        max_age_s: how old a picture may be that is shown.
        longest_wait_s: between attempts to reach a server that does not answer.
    """

    def __init__(
        self,
        client: KubernetesClient,
        kind: Kind,
        namespace: str,
        *,
        selector: str,
        keep: Callable[[Object], Object] = without_managed_fields,
        gone: Callable[[Object], None] | None = None,
        watch_s: int = WATCH_S,
        silence_s: float = SILENCE_S,
        max_age_s: float = MAX_AGE_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._selector = selector
        self._keep = keep
        self._gone = gone
        self._watch_s = watch_s
        self._silence_s = silence_s
        self._max_age_s = max_age_s
        self._longest_wait_s = longest_wait_s
        self._lock = threading.Lock()
        self._objects: dict[str, Object] = {}
        self._noted: dict[str, Object] = {}
        self._version = ""
        self._generation = 0
        self._heard_at: float | None = None
        self._trouble = "it has not answered yet"
        self._synced = threading.Event()
        self._stop = threading.Event()
        self._stream: EventStream | None = None
        self._thread: threading.Thread | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the last sign of life; None before the first listing."""
        with self._lock:
            return None if self._heard_at is None else time.monotonic() - self._heard_at

    @property
    def heard_at(self) -> float | None:
        """``time.monotonic()`` of the last sign of life."""
        with self._lock:
            return self._heard_at

    @property
    def generation(self) -> int:
        """Grows with every change: whoever has seen this number has seen everything."""
        with self._lock:
            return self._generation

    def start(self) -> None:
        """Begin to list and watch, unless that is going on."""
        with self._lock:
            gone = self._thread is None or not self._thread.is_alive()
            if gone and not self._stop.is_set():
                name = f"watch-{self._kind.plural}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def snapshot(self, *, wait_s: float = SYNC_S) -> Mapping[str, Object]:
        """The objects by name. They are shared: nobody may change them.

        Args:
            wait_s: longest time to wait for the very first listing.

        Raises:
            KubernetesUnavailable: there is no picture yet, or it is too old.
        """
        self.start()
        self._synced.wait(wait_s)
        age_s = self.age_s
        with self._lock:
            if age_s is None:
                raise KubernetesUnavailable(f"{self._kind.plural} cannot be listed: {self._trouble}")
            if age_s > self._max_age_s:
                raise KubernetesUnavailable(
                    f"nothing was heard of {self._kind.plural} for {age_s:.0f} s: {self._trouble}"
                )
            return dict(self._objects)

    def note(self, written: Object) -> None:
        """Take up what the API server answered to a write, so that whoever wrote sees it at once.

        What the watch has passed already is left out: the object may have changed, or gone, since.
        """
        with self._lock:
            if _is_later(_version(written), self._version):
                self._noted[_name(written)] = written
                self._put(written)

    def close(self) -> None:
        """End the thread; the last picture stays."""
        self._stop.set()
        with self._lock:
            stream, thread = self._stream, self._thread
        if stream is not None:
            stream.abort()
        if thread is not None:
            thread.join(timeout=JOIN_S)

    # ---- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s = min(FIRST_WAIT_S, self._longest_wait_s)
        version: str | None = None
        while not self._stop.is_set():
            try:
                if version is None:
                    version = self._list()
                version = self._follow(version)
                wait_s = min(FIRST_WAIT_S, self._longest_wait_s)
            except KubernetesError as error:
                version, wait_s = None, self._pause(error, wait_s)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # Not what an object looks like: a proxy in between, a server of tomorrow. The thread must live.
                said = KubernetesUnavailable(f"an answer that makes no sense: {error!r}")
                version, wait_s = None, self._pause(said, wait_s)

    def _pause(self, error: KubernetesError, wait_s: float) -> float:
        """Wait for a while before all is listed again. Returns how long the next pause may be."""
        with self._lock:
            self._trouble = str(error)
        if not self._stop.is_set():
            logger.warning("watching %s in %s: %s", self._kind.plural, self._namespace, error)
        # Gone is the ordinary end of a watch that slept too long; a server that says it again and again
        # is not to be listed without pause either.
        least_s = 0.0 if isinstance(error, HistoryGone) else wait_s / 2
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, KubernetesOverloaded) else 0.0
        self._stop.wait(min(asked_s, self._longest_wait_s) + random.uniform(least_s, wait_s))  # noqa: S311  # keeps no secret
        return min(2 * wait_s, self._longest_wait_s)

    def _list(self) -> str:
        with self._lock:
            self._noted.clear()
        listing = self._client.list(self._kind, self._namespace, selector=self._selector)
        with self._lock:
            before = self._objects
            self._objects = {_name(found): self._keep(found) for found in listing.objects}
            self._version = listing.resource_version
            for written in self._noted.values():  # while the server was listing
                if _is_later(_version(written), self._version):
                    self._put(written)
            self._noted.clear()
            self._generation += 1
            self._heard_at = time.monotonic()
            for name, known in before.items():
                if name not in self._objects or _uid(self._objects[name]) != _uid(known):
                    self._mourn(known)
        self._synced.set()
        return listing.resource_version

    def _follow(self, version: str) -> str:
        """One watch. Returns the version that the next one begins at."""
        stream = self._client.watch(
            self._kind,
            self._namespace,
            selector=self._selector,
            resource_version=version,
            lasts_s=self._watch_s,
            silence_s=self._silence_s,
        )
        with self._lock:
            self._stream = stream
            self._heard_at = time.monotonic()
        try:
            # close() may have come before it could see this stream.
            if not self._stop.is_set():
                for change, changed in stream:
                    version = _version(changed) or version
                    self._take(change, changed, version)
                self._hear()
        finally:
            with self._lock:
                self._stream = None
            stream.close()
        return version

    def _hear(self) -> None:
        with self._lock:
            self._heard_at = time.monotonic()

    def _take(self, change: str, changed: Object, version: str) -> None:
        with self._lock:
            self._heard_at = time.monotonic()
            self._version = version
            if change == "BOOKMARK":
                return
            self._noted.clear()
            if change == "DELETED":
                self._drop(changed)
            else:
                self._put(changed)

    def _drop(self, gone: Object) -> None:
        known = self._objects.get(_name(gone))
        # An object of the same name that was made since stays.
        if known is not None and not _is_later(_version(known), _version(gone)):
            del self._objects[_name(gone)]
            self._generation += 1
        self._mourn(gone)

    def _mourn(self, gone: Object) -> None:
        if self._gone is not None:
            self._gone(gone)

    def _put(self, found: Object) -> None:
        known = self._objects.get(_name(found))
        # A written object that was noted may be newer than an event that was under way.
        if known is None or not _is_later(_version(known), _version(found)):
            self._objects[_name(found)] = self._keep(found)
            self._generation += 1


def _name(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["name"])


def _uid(found: Mapping[str, Any]) -> str:
    return str(found["metadata"].get("uid", ""))


def _version(found: Mapping[str, Any]) -> str:
    return str(found.get("metadata", {}).get("resourceVersion", ""))


def _is_later(version: str, than: str) -> bool:
    """Whether one resource version is newer; they are numbers that grow (guaranteed since Kubernetes 1.35)."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return False
