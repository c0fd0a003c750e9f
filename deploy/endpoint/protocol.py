"""What every endpoint backend can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from deploy.contract.document import StoredFile
from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.evidence.policy import Trust


class EndpointError(Exception):
    """The endpoint backend could not do what it was asked; the same call may work later."""


class EndpointRefused(EndpointError):  # noqa: N818 - a decision, not a fault
    """The order can never be served as it is; the message says why."""


class ServePhase(Enum):
    """Where one endpoint is."""

    STARTING = "starting"
    READY = "ready"
    """It has answered a real generation."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """An order to serve one model."""

    name: str
    """DNS label, derived from the endpoint's id."""
    model_id: str
    """The name the server answers to (``model`` in requests)."""
    weights_uri: str
    """Prefix of the weights: ``file:///...`` or ``s3://...``."""
    files: tuple[StoredFile, ...]
    """All of them are verified before the server may start."""
    trust: Trust | None = None
    """What the evidence beside the weights has to prove before the server may start; None asks for none."""
    max_model_len: int | None = None
    """Tokens of prompt and completion together; None takes the model's own limit."""
    resources: Resources = ANY_RESOURCES
    """Of one replica (``nodes`` stays 1); a local server takes the machine as it is."""
    replicas: int = 1
    """At least one. A local server is always one. An endpoint that sleeps is removed, and served when it wakes."""
    max_replicas: int = 1
    """At most, where the operator's cluster scales by waiting requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a backend sees of one endpoint."""

    name: str
    phase: ServePhase
    base_url: str | None = None
    """``http://host:port`` without ``/v1``; set when READY."""
    reason: str | None = None
    """When FAILED: what went wrong, with the last lines of the server's log. Else: what it, or a replica, waits for."""
    ready_replicas: int | None = None
    """How many answer; None where there is always one."""
    replicas: tuple[int, int] | None = None
    """At least and at most, as the order said that it runs by; None where that makes no difference."""
    current: bool = True
    """False when something of it is missing, or was made by other settings: serve() brings it up to date."""


class EndpointBackend(Protocol):
    """Serves models. Every method may be called again after a crash with the same arguments."""

    def serve(self, order: Serve) -> None:
        """Start an endpoint. One that exists under this name is brought to what the order says, without failing a request.

        Only ``replicas`` and ``max_replicas`` of an order ever change.
        Raises EndpointRefused, EndpointError.
        """
        ...

    def observe(self) -> Mapping[str, Server]:
        """Every endpoint this backend knows, by name, until nothing of it is left. Raises EndpointError."""
        ...

    def remove(self, name: str) -> None:
        """Stop an endpoint and forget it, with its copy of the weights. Raises EndpointError."""
        ...

    def close(self) -> None:
        """The service goes away. Local servers are stopped with it; a cluster's go on."""
        ...
