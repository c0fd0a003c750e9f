"""Decisions about endpoints: each alone, and a world in which anything may happen that always comes to rest."""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from service.reconcile.serving import Action
from service.reconcile.serving import DesiredEndpoint
from service.reconcile.serving import FallAsleep
from service.reconcile.serving import SetStatus
from service.reconcile.serving import StartServer
from service.reconcile.serving import Status
from service.reconcile.serving import StopServer
from service.reconcile.serving import tick

URL = "http://ep:8000"
START, STOP = StartServer(endpoint_id="ep"), StopServer(name="ep")
READY = Server(name="ep", phase=ServePhase.READY, base_url=URL)
STARTING = Server(name="ep", phase=ServePhase.STARTING)


def row(status: Status, **more: object) -> DesiredEndpoint:
    url = URL if status == "ready" else None
    return DesiredEndpoint(**{"id": "ep", "status": status, "url": url, **more})  # type: ignore[arg-type]


def decide(desired: DesiredEndpoint, server: Server | None, room: int = 1) -> list[Action]:
    return tick([desired], {} if server is None else {"ep": server}, max_endpoints=room)


@pytest.mark.parametrize(
    ("desired", "server", "expected"),
    [
        (row("ready", idle_s=60, unused_s=59.0), READY, []),
        (row("ready", idle_s=60, unused_s=60.0), READY, [FallAsleep(endpoint_id="ep")]),
        (row("ready", idle_s=None, unused_s=1e9), READY, []),
        (row("ready", idle_s=60, unused_s=None), READY, []),
        (row("starting", idle_s=60, unused_s=1e9), STARTING, []),
        (row("asleep"), None, []),
        (row("asleep"), READY, [STOP]),
        (row("asleep", remove_requested=True), None, [SetStatus(endpoint_id="ep", status="stopped")]),
        (row("queued"), READY, [STOP]),
        (row("queued"), None, [SetStatus(endpoint_id="ep", status="starting")]),
        (row("starting"), None, [START]),
        (row("ready"), None, [SetStatus(endpoint_id="ep", status="starting"), START]),
        (row("ready"), replace(READY, current=False), [START]),
        (row("ready"), replace(READY, replicas=(1, 1)), []),
        (row("ready", replicas=(1, 3)), replace(READY, replicas=(1, 1)), [START]),
        (row("ready", replicas=(2, 2)), READY, []),
        (
            row("starting"),
            replace(STARTING, reason="no room", ready_replicas=0),
            [SetStatus(endpoint_id="ep", status="starting", reason="no room", ready_replicas=0)],
        ),
        (
            row("starting", reason="no room", ready_replicas=0),
            replace(STARTING, reason="no room", ready_replicas=0),
            [],
        ),
        (
            row("ready", ready_replicas=1),
            replace(READY, ready_replicas=2),
            [SetStatus(endpoint_id="ep", status="ready", url=URL, ready_replicas=2)],
        ),
        (
            row("ready", idle_s=60, unused_s=99.0),
            replace(STARTING, reason="it crashed"),
            [SetStatus(endpoint_id="ep", status="starting", reason="it crashed")],
        ),
    ],
)
def test_decisions(desired: DesiredEndpoint, server: Server | None, expected: list[Action]) -> None:
    assert decide(desired, server) == expected


def test_who_sleeps_leaves_its_place_to_others() -> None:
    waiting = replace(row("queued"), id="ep-2")
    awake = tick([row("ready"), waiting], {"ep": READY}, max_endpoints=1)
    assert awake == []
    asleep = tick([row("asleep"), waiting], {}, max_endpoints=1)
    assert asleep == [SetStatus(endpoint_id="ep-2", status="starting")]


@dataclass
class World:
    """One endpoint, its backend, and a client that may come at any moment."""

    row: DesiredEndpoint
    server: Server | None = None
    starts: int = 0
    history: list[str] = field(default_factory=list)

    def apply(self, action: Action) -> None:
        if isinstance(action, SetStatus):
            self.row = replace(self.row, status=action.status, url=action.url, reason=action.reason)
            self.row = replace(self.row, ready_replicas=action.ready_replicas)
            if action.status == "ready":
                self.row = replace(self.row, unused_s=0.0)
        elif isinstance(action, FallAsleep):
            self.row = replace(self.row, status="asleep", url=None)
        elif isinstance(action, StopServer):
            self.server = None
        elif self.server is None:
            assert self.row.status == "starting"
            self.server = STARTING

    def happen(self, what: str) -> None:
        if what == "request" and self.row.status == "asleep":
            self.row = replace(self.row, status="queued", unused_s=0.0)
        elif what == "request":
            self.row = replace(self.row, unused_s=0.0)
        elif what == "become ready" and self.server is not None:
            self.server = READY
        elif what == "time passes":
            self.row = replace(self.row, unused_s=(self.row.unused_s or 0.0) + 40.0)
        elif what == "server goes":
            self.server = None
        elif what == "tick":
            for action in decide(self.row, self.server):
                self.apply(action)

    def rest(self) -> None:
        for _ in range(10):
            if self.server is STARTING:
                self.happen("become ready")
            self.happen("tick")


EVENTS = st.sampled_from(["request", "become ready", "time passes", "server goes", "tick"])


@given(st.lists(EVENTS, max_size=40))
def test_whatever_happens_it_comes_to_rest_asleep_and_wakes(events: list[str]) -> None:
    world = World(row("queued", idle_s=60, unused_s=0.0))
    for event in events:
        world.happen(event)
    world.rest()
    assert (world.row.status, world.server) in {("ready", READY), ("asleep", None)}
    for _ in range(2):
        world.happen("time passes")
    world.rest()
    assert (world.row.status, world.server) == ("asleep", None)
    world.happen("request")
    world.rest()
    assert (world.row.status, world.row.url, world.server) == ("ready", URL, READY)
