"""Where a job's ranks run: how many devices on how many nodes, and where they meet. Read from the environment once.

A launcher that gives a job more than one device sets, in the pod of every node:

TEMPER_GPUS           devices of each node; without a GPU so many processes on the CPU (tests, CPU clusters)
TEMPER_NODES          nodes, 1 where it is unset
TEMPER_NODE_RANK      of this one, from 0; node 0 runs the job, the others train along
TEMPER_RENDEZVOUS     host:port of node 0; needed on several nodes, on one a free port of the loopback is taken

An operator may set in all of them:

TEMPER_SHARDING       auto (the default), ddp or fsdp: see :mod:`training.sharding`
TEMPER_JOIN_S         longest wait for all nodes to come, 600 seconds
TEMPER_SILENCE_S      a node that is not heard for so long is gone, 30 seconds

With none of them set a job uses one device, as it does on a laptop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from typing import Literal
from typing import cast
from typing import get_args

from deploy.contract.exit_codes import ExitCode
from training.errors import PlatformFault

WantedSharding = Literal["auto", "ddp", "fsdp"]

MAX_NODES: Final = 1024
MAX_DEVICES: Final = 64
"""Of one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One node's place in a job."""

    devices: int
    """Of each node."""
    nodes: int
    node: int
    """Rank of this node, from 0."""
    host: str
    port: int
    """Where node 0 listens; 0 takes any that is free."""
    sharding: WantedSharding
    join_s: float
    silence_s: float

    @property
    def world(self) -> int:
        """Ranks of a training, over all nodes."""
        return self.devices * self.nodes

    @property
    def leads(self) -> bool:
        """Whether this node runs the job."""
        return self.node == 0

    def ranks(self, node: int) -> range:
        """The global ranks that a node has."""
        return range(node * self.devices, (node + 1) * self.devices)


def _fault(name: str, said: str) -> PlatformFault:
    return PlatformFault(ExitCode.PLATFORM, "invalid_placement", f"{name}: {said}")


def _whole(environment: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    given = environment.get(name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and low <= int(given[:9]) <= high):
        raise _fault(name, f"{given!r} is no whole number from {low} to {high}")
    return int(given)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    given = environment.get(name, "")
    try:
        seconds = float(given) if given else default
    except ValueError as error:
        raise _fault(name, f"{given!r} is no number of seconds") from error
    if not 0.0 < seconds <= 86_400.0:
        raise _fault(name, f"{given!r} is no number of seconds from 0 to a day")
    return seconds


def _address(environment: Mapping[str, str], *, nodes: int) -> tuple[str, int]:
    given = environment.get("TEMPER_RENDEZVOUS", "")
    if not given:
        if nodes > 1:
            raise _fault("TEMPER_RENDEZVOUS", f"{nodes} nodes need host:port of node 0 to meet at")
        return "127.0.0.1", 0
    host, _, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65_536):
        raise _fault("TEMPER_RENDEZVOUS", f"{given!r} is not host:port")
    return host, int(port)


def read_placement(environment: Mapping[str, str]) -> Placement | None:
    """This node's place, or None where the job has one device.

    Raises:
        PlatformFault: a variable that is not what it should be; the message names it.
    """
    devices = _whole(environment, "TEMPER_GPUS", 1, low=0, high=MAX_DEVICES)
    nodes = _whole(environment, "TEMPER_NODES", 1, low=1, high=MAX_NODES)
    node = _whole(environment, "TEMPER_NODE_RANK", 0, low=0, high=MAX_NODES)
    if node >= nodes:
        raise _fault("TEMPER_NODE_RANK", f"{node} is no rank of {nodes} nodes, they count from 0")
    sharding = environment.get("TEMPER_SHARDING") or "auto"
    if sharding not in get_args(WantedSharding):
        raise _fault("TEMPER_SHARDING", f"{sharding!r} is none of {', '.join(get_args(WantedSharding))}")
    host, port = _address(environment, nodes=nodes)
    placement = Placement(
        # A job without a GPU has its processor.
        devices=max(1, devices),
        nodes=nodes,
        node=node,
        host=host,
        port=port,
        sharding=cast(WantedSharding, sharding),
        join_s=_seconds(environment, "TEMPER_JOIN_S", 600.0),
        silence_s=_seconds(environment, "TEMPER_SILENCE_S", 30.0),
    )
    return placement if placement.world > 1 else None
