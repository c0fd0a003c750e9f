"""A job on several devices, which are processes on the CPU here: one node of two, two nodes of one, and their faults.

Every rank imports torch, some seconds on a processor of its own; so whatever trains is in the slow lane.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from signal import SIGKILL
from signal import SIGSTOP
from signal import SIGTERM
from socket import create_server
from typing import Any

import psutil
import pytest
import torch
from job_process import JobBench
from safetensors.torch import load_file

from deploy.contract import layout
from deploy.contract.canary import CanaryPlan
from deploy.contract.event import JobEvent
from deploy.contract.exit_codes import ExitCode
from deploy.contract.method import DeceLoss
from deploy.contract.report import Report
from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan

# Several processes that import torch on a machine that is busy otherwise take minutes.
pytestmark = pytest.mark.timeout(900)

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
            # Its ranks too, which may have been stopped.
            os.killpg(process.pid, SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
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


@pytest.mark.slow
def test_two_ranks_give_the_same_bytes_twice(job_bench: JobBench) -> None:
    spec = small_job(job_bench)
    job_bench.run(spec, env=ONE_NODE)
    first = job_bench.result().models["hardened"].files
    job_bench.store.delete_prefix("jobs/")
    job_bench.run(spec, env=ONE_NODE)
    assert job_bench.result().models["hardened"].files == first


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_an_adapter_is_trained_and_merged(job_bench: JobBench, sharding: str) -> None:
    plan = PLAN.model_copy(update={"adapter": Lora(rank=4)})
    spec = small_job(job_bench, training=plan)
    job_bench.run(spec)
    alone = weights(job_bench)
    job_bench.store.delete_prefix("jobs/")
    job_bench.run(spec, env=ONE_NODE | {"TEMPER_SHARDING": sharding})
    assert not any("adapter" in file.name for file in job_bench.result().models["hardened"].files)
    assert_same(weights(job_bench), alone)
    base = load_file(job_bench.base_dir / "model.safetensors")
    assert any(not torch.equal(base[name], weight) for name, weight in alone.items()), "nothing was learnt"


@pytest.mark.slow
def test_an_encoder_decoder_is_sharded(job_bench: JobBench, tiny_encoder_decoder_dir: Path) -> None:
    """Its weights are tied across its two stacks. It has dropout, so one rank would draw other numbers."""
    job_bench.base_dir = tiny_encoder_decoder_dir
    job_bench.run(small_job(job_bench), env=ONE_NODE | {"TEMPER_SHARDING": "ddp"})
    replicated = weights(job_bench)
    job_bench.store.delete_prefix("jobs/")
    job_bench.run(small_job(job_bench), env=ONE_NODE | {"TEMPER_SHARDING": "fsdp"})
    assert_same(weights(job_bench), replicated)


@pytest.mark.slow
def test_a_node_that_is_killed_ends_the_job_and_another_number_of_ranks_goes_on(
    job_bench: JobBench, nodes: Nodes
) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 6, "checkpoint_every_s": 0.05})
    job_bench.run(small_job(job_bench, training=plan), pod="calm")
    calm, history = weights(job_bench), job_bench.events(pod="calm")
    job_bench.store.delete_prefix("jobs/")
    first, second = nodes.start(small_job(job_bench, training=plan), TEMPER_SHARDING="fsdp")
    job_bench.wait_for(first, lambda event: "checkpoint" in event.data and event.data["step"] >= 7)
    second.send_signal(SIGKILL)
    killed_at = time.monotonic()
    ((status, output),) = nodes.finish([first], within_s=120)
    assert time.monotonic() - killed_at < 60, "the job must end soon"
    assert status == ExitCode.PLATFORM, output
    assert job_bench.failure().code in {"node_lost", "peer_lost"}
    assert not results(job_bench)
    job_bench.run(small_job(job_bench, attempt=2, training=plan), pod="alone")
    resumed = next(event for event in job_bench.events(2, "alone") if "resumed" in event.message)
    assert resumed.data["step"] >= 7
    assert_same(weights(job_bench), calm)
    last = [event.data["loss"] for event in history if starts_training(event)][-1]
    again = [event.data["loss"] for event in job_bench.events(2, "alone") if starts_training(event)][-1]
    assert again == pytest.approx(last, rel=0.2), "both are means over the last reported steps"


@pytest.mark.slow
def test_a_checkpoint_of_one_rank_is_resumed_by_two(job_bench: JobBench) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 4})
    job_bench.run(small_job(job_bench, training=plan))
    calm, curve = weights(job_bench), losses(job_bench)
    job_bench.store.delete("jobs/ftjob-abc123/result.json")
    # The last checkpoint is the end of the training; the one before is an epoch short of it.
    prefix = layout.checkpoint_prefix("ftjob-abc123", 1, "pod", "hardened", 20)
    assert job_bench.store.delete_prefix(prefix) == 4
    environment = ONE_NODE | {"TEMPER_SHARDING": "fsdp"}
    job_bench.run(small_job(job_bench, attempt=2, training=plan), env=environment)
    assert any("resumed at step 15" in event.message for event in job_bench.events(2))
    assert_same(weights(job_bench), calm)
    assert losses(job_bench, 2)[20] == pytest.approx(curve[20], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_told_to_stop_on_any_node_all_end_with_a_checkpoint(
    job_bench: JobBench, nodes: Nodes, told: int
) -> None:
    both = nodes.start(small_job(job_bench, training=LONG))
    job_bench.wait_for(both[0], starts_training)
    both[told].send_signal(SIGTERM)
    ended = nodes.finish(both, within_s=120)
    assert [status for status, _ in ended] == [ExitCode.INTERRUPTED] * 2, ended
    assert job_bench.failure().code == "interrupted"
    saved = [event for event in job_bench.events() if "checkpoint" in event.data]
    manifests = [info.key for info in job_bench.store.list("jobs/") if info.key.endswith("/manifest.json")]
    assert any(f"{saved[-1].data['step']:08d}" in key for key in manifests)
    assert writers(job_bench) == {"pod"}


@pytest.mark.slow
def test_a_rank_that_is_killed_is_named(job_bench: JobBench) -> None:
    process = job_bench.start(small_job(job_bench, training=LONG), env=ONE_NODE)
    job_bench.wait_for(process, starts_training)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    ranks[1].kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.PLATFORM, output
    assert job_bench.failure().code == "rank_died"
    assert "rank " in job_bench.failure().message
    assert "status -9" in job_bench.failure().message
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive


FAILS_ON_RANK_1 = """
import multiprocessing

if multiprocessing.parent_process() is not None or "spawn_main" in " ".join(__import__("sys").orig_argv):
    import training.loop

    def optimize(run, examples, row, plan, original=training.loop._optimize):
        if run.ranks.rank == 1 and run.position.step == 3:
            raise {error}
        return original(run, examples, row, plan)

    training.loop._optimize = optimize
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("__import__('torch').OutOfMemoryError('CUDA out of memory')", ExitCode.OUT_OF_MEMORY),
        ("OSError(28, 'No space left on device')", ExitCode.DISK_FULL),
        ("KeyError('a bug')", ExitCode.PLATFORM),
    ],
)
def test_the_error_of_the_rank_that_failed_is_the_jobs_on_every_node(
    job_bench: JobBench, nodes: Nodes, tmp_path: Path, error: str, status: int
) -> None:
    """Only rank 1, on the other node, fails; what rank 0 sees is a broken connection."""
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(FAILS_ON_RANK_1.format(error=error))
    both = nodes.start(small_job(job_bench, training=LONG), PYTHONPATH=str(patched))
    ended = nodes.finish(both, within_s=120)
    assert [code for code, _ in ended] == [status] * 2, ended
    failure = job_bench.failure()
    assert failure.exit_code == status
    assert "rank 1 on node 1" in failure.message


FETCHES_NOTHING_ON_NODE_1 = """
import os
import sys

if os.environ.get("TEMPER_NODE_RANK") == "1" and "training" in sys.orig_argv:
    import training.inputs
    from deploy.store.protocol import StoreUnavailable

    def fetch(spec, directory):
        raise StoreUnavailable("no route to the store")

    training.inputs._fetch_model = fetch
"""


@pytest.mark.slow
def test_a_node_that_cannot_fetch_the_model_says_why(
    job_bench: JobBench, nodes: Nodes, tmp_path: Path
) -> None:
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(FETCHES_NOTHING_ON_NODE_1)
    ended = nodes.finish(nodes.start(small_job(job_bench), PYTHONPATH=str(patched)), within_s=120)
    assert [code for code, _ in ended] == [ExitCode.STORE_UNAVAILABLE] * 2, ended
    assert job_bench.failure().code == "store_unavailable"
    assert "no route to the store" in job_bench.failure().message
    assert "node 1" in job_bench.failure().message


@pytest.mark.slow
def test_a_training_that_diverges_is_the_users_on_every_node(job_bench: JobBench, nodes: Nodes) -> None:
    plan = TrainingPlan(
        n_epochs=2, batch_size=8, learning_rate=10.0, max_tokens=64, max_grad_norm=1e9, weight_decay=10.0
    )
    ended = nodes.finish(nodes.start(small_job(job_bench, training=plan)))
    assert [status for status, _ in ended] == [ExitCode.DIVERGED] * 2, ended
    assert job_bench.failure().param == "method"


@pytest.mark.slow
@pytest.mark.parametrize("fate", [SIGKILL, SIGSTOP])
def test_the_first_node_is_gone_or_hangs_and_the_others_end(
    job_bench: JobBench, nodes: Nodes, fate: int
) -> None:
    first, second = nodes.start(small_job(job_bench, training=LONG), TEMPER_SILENCE_S="10")
    job_bench.wait_for(first, starts_training)
    ranks = [*ranks_of(first), *ranks_of(second)]
    assert len(ranks) == 2
    first.send_signal(fate)
    ((status, output),) = nodes.finish([second], within_s=120)
    assert 50 <= status <= 59, output
    assert "node_lost" in output
    assert "node 0" in output
    gone = ranks if fate == SIGKILL else ranks[1:]
    _, alive = psutil.wait_procs(gone, timeout=30)
    assert not alive


@pytest.mark.slow
def test_a_node_that_hangs_is_gone(job_bench: JobBench, nodes: Nodes) -> None:
    first, second = nodes.start(small_job(job_bench, training=LONG), TEMPER_SILENCE_S="10")
    job_bench.wait_for(first, starts_training)
    second.send_signal(SIGSTOP)
    for rank in ranks_of(second):
        rank.suspend()
    ((status, output),) = nodes.finish([first], within_s=120)
    assert status == ExitCode.PLATFORM, output
    assert job_bench.failure().code == "node_lost"
    assert "node 1 of 2 is gone" in job_bench.failure().message


def test_a_node_that_never_comes_is_named(job_bench: JobBench, nodes: Nodes) -> None:
    (first,) = nodes.start(small_job(job_bench), count=3, only=(0,), TEMPER_JOIN_S="2")
    ((status, output),) = nodes.finish([first])
    assert status == ExitCode.PLATFORM, output
    failure = job_bench.failure()
    assert failure.code == "node_missing"
    assert "node 1, node 2 of 3 did not come to the rendezvous 127.0.0.1:" in failure.message


def test_a_node_without_a_first_one_gives_up(job_bench: JobBench, nodes: Nodes) -> None:
    (second,) = nodes.start(small_job(job_bench), only=(1,), TEMPER_JOIN_S="2")
    ((status, output),) = nodes.finish([second])
    assert status == ExitCode.PLATFORM, output
    assert "node 0 of 2 does not answer at the rendezvous" in output
    assert writers(job_bench) == set()


def test_a_variable_that_is_not_what_it_should_be_is_named(job_bench: JobBench) -> None:
    output = job_bench.run(small_job(job_bench), env={"TEMPER_GPUS": "two"}, expect=ExitCode.PLATFORM)
    assert "TEMPER_GPUS: 'two' is no whole number" in output


ONE_TRIAL = """
import sys

if "training" in sys.orig_argv:
    import training.calibration

    training.calibration.ALPHAS = (0.99,)
"""
"""So small a model holds nothing, and seven trials are seven times the same."""


@pytest.mark.slow
def test_alpha_base_is_chosen_and_canaries_are_measured_on_two_nodes(
    job_bench: JobBench, nodes: Nodes, tmp_path: Path
) -> None:
    """Trials and shadow copies are trained by all nodes, from files that only the first one has."""
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(ONE_TRIAL)
    spec = small_job(
        job_bench,
        training=PLAN.model_copy(update={"n_epochs": 1}),
        loss=DeceLoss(alpha_base="auto", label_smoothing=0.05),
        canaries=CanaryPlan(count=2, rate=0.1, seed=5),
    )
    ended = nodes.finish(nodes.start(spec, PYTHONPATH=str(patched)), within_s=800)
    assert [status for status, _ in ended] == [0, 0], ended
    report = Report.from_bytes(job_bench.store.get(job_bench.result().report.key))
    assert len(report.alpha_trials) == 1
    assert report.detection is not None, report.shortfalls
    trained = [event.data["arm"] for event in job_bench.events() if "sharding" in event.data]
    assert trained == ["shadow-hardened", "hardened", "shadow-control", "shadow-hardened"]
    assert writers(job_bench) == {"pod"}
