"""Nodes meet, hear of each other and part, over the real store on the loopback."""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from socket import create_server

import pytest
from waiting import until

from training.errors import Interrupted
from training.errors import PlatformFault
from training.placement import Placement
from training.rendezvous import Guest
from training.rendezvous import Host


def never() -> bool:
    return False


@pytest.fixture
def placement() -> Placement:
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Placement(
        devices=1, nodes=2, node=0, host="127.0.0.1", port=port, sharding="auto", join_s=20.0, silence_s=20.0
    )


@pytest.fixture
def open_host(placement: Placement) -> Iterator[Callable[..., Host]]:
    with ExitStack() as stack:

        def opened(**more: float) -> Host:
            host = Host(replace(placement, **more), prefix="job")  # type: ignore[arg-type]
            stack.callback(host.end, {"exit_code": 0})
            return host

        yield opened


def join(placement: Placement, **more: float) -> Guest:
    there = replace(placement, node=1, **more)  # type: ignore[arg-type]
    return Guest(there, prefix="job", stop_asked=never, is_over=never)


def test_a_node_comes_is_told_of_the_end_and_lets_the_first_go(
    placement: Placement, open_host: Callable[..., Host]
) -> None:
    host = open_host()
    guest = join(placement)
    host.wait_for_nodes(never)
    host.check()
    guest.check()
    assert guest.how_it_ended() is None
    host.board.put("order/1", {"name": "hardened"})
    # A store answers nobody who writes, so another connection may be a moment early.
    assert until(lambda: guest.board.look("order/1"), seconds=5) == {"name": "hardened"}
    ending = threading.Thread(target=host.end, args=({"exit_code": 45},))
    ending.start()
    while guest.how_it_ended() is None:
        time.sleep(0.01)
    assert guest.how_it_ended() == {"exit_code": 45}
    assert ending.is_alive(), "the first node waits until the others have heard"
    guest.confirm_end()
    ending.join(5)
    assert not ending.is_alive()


def test_a_node_that_comes_first_waits_for_the_first_one(placement: Placement) -> None:
    hosts: list[Host] = []
    later = threading.Timer(0.5, lambda: hosts.append(Host(placement, prefix="job")))
    later.start()
    guest = join(placement)
    guest.confirm_end()
    later.join()
    hosts[0].end({"exit_code": 0})


def test_missing_nodes_are_named(placement: Placement, open_host: Callable[..., Host]) -> None:
    host = open_host(nodes=3, join_s=0.5)
    guest = join(placement, nodes=3)
    with pytest.raises(PlatformFault, match=r"^node 2 of 3 did not come"):
        host.wait_for_nodes(never)
    guest.confirm_end()


def test_waiting_for_nodes_ends_when_told_to_stop(open_host: Callable[..., Host]) -> None:
    with pytest.raises(Interrupted):
        open_host().wait_for_nodes(lambda: True)


def test_a_silent_node_is_gone(placement: Placement, open_host: Callable[..., Host]) -> None:
    host = open_host(silence_s=3.0)
    guest = join(placement)
    host.wait_for_nodes(never)
    guest.confirm_end()  # no more beats
    with pytest.raises(PlatformFault, match="node 1 of 2 is gone: not heard for") as raised:
        _until_raised(host.check)
    assert raised.value.code == "node_lost"
    assert host.quiet_nodes() == []


def _until_raised(check: Callable[[], None]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        check()
        time.sleep(0.05)


def test_a_node_that_is_started_again_ends_the_job(
    placement: Placement, open_host: Callable[..., Host]
) -> None:
    host = open_host()
    first = join(placement)
    with pytest.raises(PlatformFault, match="node 1 was started again"):
        join(placement)
    with pytest.raises(PlatformFault, match="node 1 was started again"):
        host.check()
    first.confirm_end()


def test_a_stop_and_a_fault_of_a_node_reach_the_first(
    placement: Placement, open_host: Callable[..., Host]
) -> None:
    host = open_host()
    guest = join(placement)
    assert not host.stop_asked()
    assert host.fault() is None
    try:
        guest.ask_stop()
        guest.tell_fault({"code": "disk_full"})
        # The store answers no write: what was told arrives a moment later.
        deadline = time.monotonic() + 10
        while not host.stop_asked() or host.fault() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert host.fault() == (1, {"code": "disk_full"})
    finally:
        guest.confirm_end()  # a guest that is left behind ends its process when the host is gone


def test_another_job_at_the_same_address_is_not_heard(
    placement: Placement, open_host: Callable[..., Host]
) -> None:
    host = open_host(join_s=0.5)
    stranger = Guest(replace(placement, node=1), prefix="other", stop_asked=never, is_over=never)
    with pytest.raises(PlatformFault, match="node 1 of 2 did not come"):
        host.wait_for_nodes(never)
    stranger.confirm_end()


def test_a_port_that_is_taken_is_named(placement: Placement) -> None:
    with (
        create_server((placement.host, placement.port)),
        pytest.raises(PlatformFault, match=f"cannot listen on port {placement.port}"),
    ):
        Host(placement, prefix="job")


@pytest.mark.parametrize(("stop", "over"), [(True, False), (False, True)])
def test_a_node_stops_waiting_when_told_to_or_when_the_job_has_its_result(
    placement: Placement, monkeypatch: pytest.MonkeyPatch, stop: bool, over: bool
) -> None:
    monkeypatch.setattr("training.rendezvous.ASK_RESULT_S", 0.0)
    with pytest.raises(Interrupted):
        Guest(replace(placement, node=1), prefix="job", stop_asked=lambda: stop, is_over=lambda: over)
