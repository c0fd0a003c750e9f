"""How a job's process says how it ended. The numbers are contract: a podFailurePolicy is built on them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of ``python -m training``.

    40-49 are the user's input and are never retried; 50-59 are the platform's and are.
    Anything else (a signal, an out-of-memory kill) counts as the platform's.
    """

    OK = 0
    SUPERSEDED = 3
    """Another start of the same job committed its result first."""
    INVALID_SPEC = 40
    INPUT_CHANGED = 41
    """An input's bytes are not the ones that were validated."""
    INVALID_DATASET = 42
    INVALID_MODEL = 43
    UNSUPPORTED = 44
    """A combination that this version cannot train or probe."""
    DIVERGED = 45
    """The loss became NaN or infinite with the user's hyperparameters."""
    NOT_VERIFIED = 46
    """Evidence does not prove what is demanded; of servers alone."""
    PLATFORM = 50
    INTERRUPTED = 51
    """Told to stop (SIGTERM) after writing a checkpoint."""
    STORE_UNAVAILABLE = 52
    DISK_FULL = 53
    OUT_OF_MEMORY = 54
    PROBE_ENGINE_FAILED = 55


def is_users(code: int) -> bool:
    """Whether ``code`` blames the user's input, so that a retry cannot help."""
    return 40 <= code <= 49
