"""Which fault of several ranks is the cause, and that it crosses to another node whole."""

import json

import pytest
import torch

from deploy.contract.exit_codes import ExitCode
from training.errors import Interrupted
from training.errors import InvalidInput
from training.errors import JobError
from training.errors import PlatformFault
from training.gang import RANK_DIED
from training.gang import RankFault
from training.gang import first_cause
from training.rank import PEER_LOST
from training.rank import describe_fault


def fault(rank: int, error: JobError) -> RankFault:
    return RankFault(rank=rank, node=rank, error=error)


LOST = PlatformFault(ExitCode.PLATFORM, PEER_LOST, "another rank is gone")
DIED = PlatformFault(ExitCode.PLATFORM, RANK_DIED, "status -9")
FULL = PlatformFault(ExitCode.DISK_FULL, "disk_full", "no room")
MEMORY = PlatformFault(ExitCode.OUT_OF_MEMORY, "out_of_memory", "too much")


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ([LOST, FULL], FULL),
        ([LOST, DIED, LOST], DIED),
        ([DIED, MEMORY], MEMORY),
        ([MEMORY, FULL], MEMORY),
        ([Interrupted(), LOST], LOST),
        ([LOST, LOST], LOST),
    ],
)
def test_the_first_of_the_most_telling_faults_is_the_cause(errors: list[JobError], cause: JobError) -> None:
    faults = [fault(rank, error) for rank, error in enumerate(errors)]
    assert first_cause(faults).error is cause


def test_only_a_fault_of_its_own_needs_no_more_word() -> None:
    assert [fault(0, each).is_cause for each in (FULL, DIED, LOST, Interrupted())] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        DIED,
        InvalidInput(ExitCode.DIVERGED, "diverged", "lower the learning rate", param="method"),
        Interrupted(),
    ],
)
def test_a_fault_crosses_to_another_node(error: JobError) -> None:
    read = RankFault.of(json.loads(json.dumps(fault(3, error).fields())))
    assert (read.rank, read.node) == (3, 3)
    assert type(read.error) is type(error)
    assert (read.error.exit_code, read.error.code, read.error.message, read.error.param) == (
        error.exit_code,
        error.code,
        error.message,
        error.param,
    )


def test_the_rank_is_named() -> None:
    raised = fault(2, FULL).raised()
    assert raised.message == "no room (rank 2 on node 2)"
    assert (raised.exit_code, raised.code) == (ExitCode.DISK_FULL, "disk_full")
    assert isinstance(fault(2, Interrupted()).raised(), Interrupted)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:80"), PEER_LOST),
        (RuntimeError("NCCL communicator was aborted on rank 1"), PEER_LOST),
        (torch.distributed.DistNetworkError("Failed to recv, got 0 bytes"), PEER_LOST),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "internal"),
        (torch.OutOfMemoryError("CUDA out of memory; see NCCL"), "out_of_memory"),
        (OSError(28, "No space left on device"), "disk_full"),
        (FULL, "disk_full"),
    ],
)
def test_only_the_loss_of_another_rank_is_called_so(error: Exception, code: str) -> None:
    assert describe_fault(error).code == code
