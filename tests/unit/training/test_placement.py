"""Where ranks run, read from the environment; every bad value is named."""

import pytest

from deploy.contract.exit_codes import ExitCode
from training.errors import PlatformFault
from training.placement import read_placement

NODES = {"TEMPER_NODES": "2", "TEMPER_RENDEZVOUS": "harden-a-1-0.harden-a-1:29400"}


@pytest.mark.parametrize("environment", [{}, {"TEMPER_GPUS": "1"}, {"TEMPER_GPUS": "0"}, {"TEMPER_GPUS": ""}])
def test_one_device_needs_no_placement(environment: dict[str, str]) -> None:
    assert read_placement(environment) is None


def test_one_node_meets_on_the_loopback() -> None:
    placement = read_placement({"TEMPER_GPUS": "4"})
    assert placement is not None
    assert (placement.world, placement.host, placement.port, placement.leads) == (4, "127.0.0.1", 0, True)


def test_several_nodes_share_out_the_ranks() -> None:
    placement = read_placement({**NODES, "TEMPER_GPUS": "8", "TEMPER_NODE_RANK": "1"})
    assert placement is not None
    assert (placement.host, placement.port) == ("harden-a-1-0.harden-a-1", 29400)
    assert (placement.world, placement.leads) == (16, False)
    assert placement.ranks(placement.node) == range(8, 16)


def test_nodes_without_a_gpu_have_a_processor_each() -> None:
    placement = read_placement({**NODES, "TEMPER_GPUS": "0"})
    assert placement is not None
    assert (placement.devices, placement.world) == (1, 2)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    placement = read_placement({**NODES, "TEMPER_RENDEZVOUS": "[fd00::1]:29400"})
    assert placement is not None
    assert (placement.host, placement.port) == ("fd00::1", 29400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPER_GPUS", "two"),
        ("TEMPER_GPUS", "-1"),
        ("TEMPER_GPUS", "65"),
        ("TEMPER_GPUS", "²"),
        ("TEMPER_NODES", "0"),
        ("TEMPER_NODES", "9" * 400),
        ("TEMPER_NODE_RANK", "2"),
        ("TEMPER_NODE_RANK", "1.0"),
        ("TEMPER_RENDEZVOUS", ""),
        ("TEMPER_RENDEZVOUS", "node0"),
        ("TEMPER_RENDEZVOUS", ":29400"),
        ("TEMPER_RENDEZVOUS", "node0:0"),
        ("TEMPER_RENDEZVOUS", "node0:65536"),
        ("TEMPER_RENDEZVOUS", "node0:http"),
        ("TEMPER_SHARDING", "zero3"),
        ("TEMPER_JOIN_S", "soon"),
        ("TEMPER_JOIN_S", "nan"),
        ("TEMPER_SILENCE_S", "0"),
        ("TEMPER_SILENCE_S", "inf"),
    ],
)
def test_a_bad_value_is_the_platforms_fault_and_named(name: str, value: str) -> None:
    with pytest.raises(PlatformFault, match=f"^{name}: ") as raised:
        read_placement({**NODES, name: value})
    assert raised.value.exit_code == ExitCode.PLATFORM
    assert raised.value.code == "invalid_placement"
