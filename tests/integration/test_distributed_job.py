"""A job on several devices, which are processes on the CPU here: one node of two, two nodes of one, and their faults.

A whole job takes some 10 s for each training, for every rank imports torch; so all but one test are in the slow lane.
"""

import subprocess
import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from socket import create_server
from typing import Any

import psutil
import pytest
import torch
from job_process import JobBench
from safetensors.torch import load_file

from deploy.contract import layout
from deploy.contract.event import JobEvent
from deploy.contract.spec import TrainingPlan

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "TORCH_CPP_LOG_LEVEL": "ERROR"}
ONE_NODE = LOOPBACK | {"TEMPER_GPUS": "2"}
# Small steps: Adam turns the last bits of a gradient into a whole step, whatever their size.
PLAN = TrainingPlan(n_epochs=2, batch_size=8, learning_rate=3e-4, max_tokens=64, seed=7)
LONG = PLAN.model_copy(update={"n_epochs": 50, "checkpoint_every_s": 600.0})


@dataclass
class Nodes:
    """Starts the nodes of a job, ``python -m training`` each, on the loopback."""

    bench: JobBench
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, spec: Any, *, count: int = 2, only: tuple[int, ...] = (), **more: str
    ) -> list[subprocess.Popen[str]]:
        with create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        shared = LOOPBACK | {
            "TEMPER_GPUS": "1",
            "TEMPER_NODES": str(count),
            "TEMPER_RENDEZVOUS": f"127.0.0.1:{port}",
            **more,
        }
        nodes = []
        for node in only or range(count):
            environment = shared | {"TEMPER_NODE_RANK": str(node)}
            pod = "pod" if node == 0 else f"pod-{node}"
            nodes.append(self.bench.start(spec, pod=pod, env=environment))
        self.started += nodes
        return nodes

    def finish(self, nodes: list[subprocess.Popen[str]], *, within_s: float = 240) -> list[tuple[int, str]]:
        """Exit status and output of each."""
        deadline = time.monotonic() + within_s
        ended = []
        for node in nodes:
            output, _ = node.communicate(timeout=max(1.0, deadline - time.monotonic()))
            ended.append((node.returncode, output))
        return ended


@pytest.fixture
def nodes(job_bench: JobBench) -> Iterator[Nodes]:
    started = Nodes(job_bench)
    yield started
    for process in started.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def small_job(bench: JobBench, **more: Any) -> Any:
    return bench.spec(**{"training": PLAN, "control": False, **more})


def weights(bench: JobBench, arm: str = "hardened") -> dict[str, torch.Tensor]:
    artifact = bench.result().models[arm]  # type: ignore[index]
    return load_file(Path(artifact.uri.removeprefix("file://")) / "model.safetensors")


def assert_same(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.allclose(ours[name], weight, atol=1e-4), (name, (ours[name] - weight).abs().max())


def losses(bench: JobBench, attempt: int = 1) -> dict[int, float]:
    """Mean loss of the epochs that were checkpointed, by step."""
    return {
        event.data["step"]: event.data["train_loss"]
        for event in bench.events(attempt)
        if "checkpoint" in event.data and event.data["train_loss"] is not None
    }


def results(bench: JobBench) -> list[str]:
    return [info.key for info in bench.store.list("jobs/") if info.key.endswith("result.json")]


def writers(bench: JobBench, attempt: int = 1) -> set[str]:
    """Pods that wrote anything."""
    prefix = layout.attempt_prefix(layout.job_of_name("harden-abc123-1")[0], attempt)  # type: ignore[index]
    keys = [info.key.removeprefix(prefix) for info in bench.store.list(prefix)]
    return {key.partition("/")[0] for key in keys if "/" in key}


def starts_training(event: JobEvent) -> bool:
    return event.type == "metrics" and "step" in event.data


def ranks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def alone(job_bench: JobBench) -> tuple[dict[str, torch.Tensor], dict[int, float]]:
    """What one rank makes of the small job."""
    job_bench.run(small_job(job_bench))
    made = weights(job_bench), losses(job_bench)
    job_bench.store.delete_prefix("jobs/")
    return made


Alone = tuple[dict[str, torch.Tensor], dict[int, float]]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_ranks_of_one_node_make_what_one_makes(job_bench: JobBench, alone: Alone, sharding: str) -> None:
    job_bench.run(small_job(job_bench), env=ONE_NODE | {"TEMPER_SHARDING": sharding})
    assert_same(weights(job_bench), alone[0])
    assert losses(job_bench) == pytest.approx(alone[1], rel=1e-4)
    assert len(results(job_bench)) == 1
    said = next(event for event in job_bench.events() if "sharding" in event.data)
    assert (said.data["sharding"], said.data["ranks"]) == (sharding, 2)
    assert not list(job_bench.scratch.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_nodes_make_what_one_rank_makes(
    job_bench: JobBench, nodes: Nodes, alone: Alone, sharding: str
) -> None:
    ended = nodes.finish(nodes.start(small_job(job_bench), TEMPER_SHARDING=sharding))
    assert [status for status, _ in ended] == [0, 0], ended
    assert_same(weights(job_bench), alone[0])
    assert losses(job_bench) == pytest.approx(alone[1], rel=1e-4)
    assert len(results(job_bench)) == 1
    assert writers(job_bench) == {"pod"}
    assert not list(job_bench.scratch.iterdir())
