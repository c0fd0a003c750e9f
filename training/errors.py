"""Why a job ends without a result.

JobError
├── InvalidInput        the user's input: never retried (exit codes 40-49)
└── PlatformFault       ours or the machine's: retried (exit codes 50-59)
    └── Interrupted     told to stop; a checkpoint has been written
Superseded              another start committed first; nothing is wrong
"""

from deploy.contract.exit_codes import ExitCode


class JobError(Exception):
    """A job ends without a result."""

    def __init__(self, exit_code: ExitCode, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[object, ...]:
        # Crosses a process boundary by pickling inside our own process tree; the default loses keywords.
        return (_rebuild, (type(self), self.exit_code, self.code, self.message, self.param))


def _rebuild(
    kind: type[JobError], exit_code: ExitCode, code: str, message: str, param: str | None
) -> JobError:
    error = kind.__new__(kind)
    JobError.__init__(error, exit_code, code, message, param=param)
    return error


class InvalidInput(JobError):  # noqa: N818
    """The user's input cannot be trained on."""


class PlatformFault(JobError):  # noqa: N818
    """Not the user's fault; another attempt may succeed."""


class Interrupted(PlatformFault):
    """Told to stop."""

    def __init__(self) -> None:
        super().__init__(
            ExitCode.INTERRUPTED,
            "interrupted",
            "the job was told to stop; it resumes from its last checkpoint",
        )


class Superseded(Exception):  # noqa: N818
    """Another start of this job has committed its result."""
