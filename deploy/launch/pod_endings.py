"""Remembers how pods ended that are gone: a Job that is stopped, or passes its deadline, deletes its pods."""

import threading
from collections.abc import Collection

from deploy.kubernetes.client import Object
from deploy.launch.pod_state import Ending
from deploy.launch.pod_state import ending_of
from deploy.launch.pod_state import owner_uid


class PodEndings:
    """Of the pods of Jobs that exist. Thread-safe; empty after a restart, when the Jobs' own words have to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endings: dict[str, dict[str, Ending]] = {}

    def pod_is_gone(self, pod: Object) -> None:
        """Take note of a pod's last state."""
        owner, ending = owner_uid(pod), ending_of(pod)
        if owner is not None and ending is not None:
            with self._lock:
                self._endings.setdefault(owner, {})[ending.pod] = ending

    def of(self, job_uid: str) -> tuple[Ending, ...]:
        """What is remembered of a Job's pods."""
        with self._lock:
            return tuple(self._endings.get(job_uid, {}).values())

    def forget(self, job_uid: str) -> None:
        """What the pods of a Job did before it was suspended explains nothing that comes after."""
        with self._lock:
            self._endings.pop(job_uid, None)

    def keep_only(self, job_uids: Collection[str]) -> None:
        """Forget all other Jobs."""
        with self._lock:
            self._endings = {uid: each for uid, each in self._endings.items() if uid in job_uids}
