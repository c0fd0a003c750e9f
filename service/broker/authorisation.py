"""What a pod may do, from who it is and what its own spec names. Pure: nothing is asked, nothing is looked at.

Covers: reading below its own job's prefix, what its own spec names, writing below its own attempt's and pod's prefix,
and committing its own job's result; an endpoint's pod reads the files that it serves, and its order. Everything else
is refused before the store is asked, so that the answer cannot tell whether a foreign object exists.
Does not cover: whether the job may still write, which changes while it runs (:mod:`service.broker.authoriser`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace
from enum import Enum
from typing import Final
from typing import Self

from deploy.contract import layout
from deploy.kubernetes.settings import ClusterSettings
from service.broker.address import Address
from service.errors import Forbidden


class Denied(Forbidden):
    """This pod may not do this. The message names the pod, the action and the object."""

    default_code = "not_allowed"


class Action(Enum):
    """What is done to one object, or (LIST, CLEAR) to all whose key begins with a prefix."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    WRITE_ONCE = "put once"
    DELETE = "delete"
    CLEAR = "delete everything below"


WRITING: Final = frozenset({Action.WRITE, Action.WRITE_ONCE, Action.DELETE, Action.CLEAR})
_JOB_POD: Final = re.compile(r"((?:harden|scan)-[a-z0-9]{1,40}-[1-9][0-9]{0,5})(?:-[0-9]{1,5})?-[a-z0-9]{5}")
"""A Job's name, the index of an indexed one, and what the Job controller adds to it."""
_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Every part of a key that a pod makes up, so that it can be logged and shown as it is."""
_DEEPEST: Final = 8
"""Parts below a pod's prefix; ours use four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Whose pods may call at all."""

    jobs: Account
    endpoints: Account

    @classmethod
    def of(cls, cluster: ClusterSettings) -> Self:
        """As the operator's file has them."""
        return cls(
            jobs=Account(namespace=cluster.jobs.namespace, name=cluster.jobs.service_account),
            endpoints=Account(namespace=cluster.endpoints.namespace, name=cluster.endpoints.service_account),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPod:
    """A pod of one attempt of a job or a scan."""

    job_id: str
    attempt: int
    uid: str

    def __str__(self) -> str:
        return f"A pod of {self.job_id}, attempt {self.attempt},"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPod:
    """A pod that serves a model."""

    endpoint_id: str

    def __str__(self) -> str:
        return f"A pod of {self.endpoint_id}"


Pod = JobPod | EndpointPod


def pod_of(*, account: Account, name: str, uid: str, accounts: Accounts) -> Pod:
    """What kind of pod it is, and whose.

    Raises:
        Denied: its ServiceAccount is neither the jobs' nor the endpoints', or its name is not one that
            our controllers give.
    """
    if _UID.fullmatch(uid):
        if account == accounts.jobs and (match := _JOB_POD.fullmatch(name)):
            run = layout.job_of_name(match[1])
            if run is not None:
                return JobPod(job_id=run[0], attempt=run[1], uid=uid)
        if account == accounts.endpoints and (endpoint_id := layout.endpoint_of_pod(name)):
            return EndpointPod(endpoint_id=endpoint_id)
    raise Denied(
        f"The pod {name[:253]!r} of the ServiceAccount {account.namespace}/{account.name} is neither a job's"
        " nor an endpoint's.",
        code="unknown_pod",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """All that one pod may do."""

    who: str
    """Begins the sentence that refuses."""
    own: str
    """Canonical URI of the service's store; every prefix and key here is in it."""
    reads_below: tuple[str, ...] = ()
    """Prefixes; each ends with a slash, or is empty for a whole store."""
    reads: frozenset[Address] = frozenset()
    writes_below: str | None = None
    commits: str | None = None
    """The one key outside of ``writes_below`` that may be put once, and never be changed or deleted."""
    plain_names: bool = True
    """Keys that are written consist of letters, digits, dots, underscores and dashes."""
    closed: Denied | None = None
    """Why nothing may be written (any more)."""

    def check(self, action: Action, address: Address) -> None:
        """Return if it is allowed. Raises Denied, the same whether the object exists or not."""
        allowed = self._writes(action, address) if action in WRITING else self._reads(action, address)
        if not allowed:
            raise Denied(f"{self.who} may not {action.value} {address}.")
        if action in WRITING and self.closed is not None:
            raise self.closed

    def without_writes(self, why: Denied) -> Self:
        """The same, but that nothing may be written."""
        return replace(self, closed=why)

    def _reads(self, action: Action, address: Address) -> bool:
        if address.root == self.own and any(address.key.startswith(below) for below in self.reads_below):
            return True
        return action is Action.READ and address in self.reads

    def _writes(self, action: Action, address: Address) -> bool:
        if address.root != self.own:
            return False
        if action is Action.WRITE_ONCE and address.key == self.commits:
            return True
        below = self.writes_below
        if below is None or not address.key.startswith(below):
            return False
        rest = address.key.removeprefix(below)
        if action is Action.CLEAR:
            return not rest or rest.endswith("/")
        parts = rest.split("/")
        return not self.plain_names or (len(parts) <= _DEEPEST and all(map(_PLAIN.fullmatch, parts)))


def scope_of_job(pod: JobPod, *, own: str, inputs: Iterable[Address]) -> Scope:
    """What a job's pod may do. ``inputs`` are the objects that its own spec names."""
    return Scope(
        who=str(pod),
        own=own,
        reads_below=(layout.job_prefix(pod.job_id),),
        reads=frozenset(inputs),
        writes_below=layout.pod_prefix(pod.job_id, pod.attempt, pod.uid),
        commits=layout.result_key(pod.job_id),
    )


def scope_of_endpoint(pod: EndpointPod, *, own: str, files: Iterable[Address]) -> Scope:
    """What an endpoint's pod may do. ``files`` are those of the model that it serves, and its order."""
    return Scope(who=str(pod), own=own, reads=frozenset(files))
