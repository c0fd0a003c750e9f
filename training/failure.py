"""From any exception to what its user is told and how the process exits."""

import errno
import sys

from deploy.contract.exit_codes import ExitCode
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreRefused
from training.errors import InvalidInput
from training.errors import JobError
from training.errors import PlatformFault

_FULL = (errno.ENOSPC, errno.EDQUOT)


def describe(error: Exception) -> JobError:
    """The JobError that an exception amounts to. Whatever is not known is the platform's and retried."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, ObjectMissing | ObjectCorrupt):
        said = f"an input is not what was validated any more: {error}"
        return InvalidInput(ExitCode.INPUT_CHANGED, "input_changed", said)
    exit_code, code, said = _platform(error)
    return PlatformFault(exit_code, code, said)


def _platform(error: Exception) -> tuple[ExitCode, str, str]:
    match error:
        case StoreFull():
            blame = (ExitCode.DISK_FULL, "disk_full", f"the object store is full: {error}")
        case StoreRefused():
            blame = (ExitCode.STORE_UNAVAILABLE, f"store_{error.code}", f"object store: {error}")
        case StoreError():
            blame = (ExitCode.STORE_UNAVAILABLE, "store_unavailable", f"object store: {error}")
        case OSError() if error.errno in _FULL or "No space left" in str(error):
            blame = (ExitCode.DISK_FULL, "disk_full", f"the disk is full: {error}")
        case _ if _is_out_of_memory(error):
            advice = "lower batch_size or hardening.training.max_tokens, or train an adapter"
            blame = (ExitCode.OUT_OF_MEMORY, "out_of_memory", f"out of memory: {advice}")
        case _:
            blame = (ExitCode.PLATFORM, "internal", f"{type(error).__name__}: {error}"[:2000])
    return blame


def _is_out_of_memory(error: Exception) -> bool:
    # A scan runs without torch; only who has loaded it can meet its error.
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError if torch is None else (MemoryError, torch.OutOfMemoryError))
