"""Every way to fail has its exit code, its stable word and a sentence for the user."""

import errno
import pickle

import pytest
import torch

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from training.errors import InvalidInput
from training.errors import JobError
from training.failure import describe


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (ObjectMissing("files/file-x"), ExitCode.INPUT_CHANGED, "input_changed"),
        (ObjectCorrupt("files/file-x"), ExitCode.INPUT_CHANGED, "input_changed"),
        (StoreFull("files/file-x"), ExitCode.DISK_FULL, "disk_full"),
        (StoreUnavailable("timed out"), ExitCode.STORE_UNAVAILABLE, "store_unavailable"),
        (StoreRefused("clock_skewed", "by 20 min"), ExitCode.STORE_UNAVAILABLE, "store_clock_skewed"),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.DISK_FULL, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ExitCode.DISK_FULL, "disk_full"),
        (OSError("I/O error: No space left on device (os error 28)"), ExitCode.DISK_FULL, "disk_full"),
        (OSError(errno.EIO, "Input/output error"), ExitCode.PLATFORM, "internal"),
        (MemoryError(), ExitCode.OUT_OF_MEMORY, "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), ExitCode.OUT_OF_MEMORY, "out_of_memory"),
        (ZeroDivisionError("x" * 9999), ExitCode.PLATFORM, "internal"),
    ],
)
def test_what_is_raised_decides(error: Exception, exit_code: ExitCode, code: str) -> None:
    described = describe(error)
    assert (described.exit_code, described.code) == (exit_code, code)
    assert isinstance(described, InvalidInput) == is_users(exit_code)
    assert 0 < len(described.message) <= 2000
    if not isinstance(error, MemoryError | torch.OutOfMemoryError):
        assert str(error)[:100] in described.message


def test_a_reason_given_already_stays() -> None:
    reason = InvalidInput(ExitCode.DIVERGED, "diverged", "the loss is infinite", param="method")
    assert describe(reason) is reason


def test_a_reason_crosses_from_an_arms_process_whole() -> None:
    reason = InvalidInput(ExitCode.DIVERGED, "diverged", "the loss is infinite", param="method")
    again: JobError = pickle.loads(pickle.dumps(reason))  # noqa: S301 - our own bytes
    assert type(again) is InvalidInput
    assert vars(again) == vars(reason)
    assert str(again) == "the loss is infinite"
