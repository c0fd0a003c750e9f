"""Checks a model directory in a process of its own under resource limits."""

from pathlib import Path
from typing import Final

from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.intake_child import Limits
from deploy.contract.intake_child import ResourceLimitExceeded
from deploy.contract.intake_child import run_child
from deploy.contract.weights.directory import ModelDirectory
from deploy.contract.weights.document import MAX_TOKENIZER_BYTES
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.error import ModelRefusedCode


class ModelRefusal(Document):
    """A :class:`ModelRefused` on its way out of the child."""

    code: ModelRefusedCode
    message: str
    file: str | None = None


class ChildAnswer(Document):
    """The one line that the child prints: exactly one of its members is set."""

    directory: ModelDirectory | None = None
    refusal: ModelRefusal | None = None


MAX_REWRITTEN_BYTES: Final = 2 * MAX_TOKENIZER_BYTES
"""Of one file that the child writes; escapes make a tokenizer longer than it was."""


def check_in_child(
    path: Path, *, rewritten: Path | None = None, limits: Limits | None = None
) -> ModelDirectory:
    """:func:`~deploy.contract.weights.directory.check_directory` under resource limits. Blocks.

    Raises:
        ModelRefused: the first thing that is wrong, or ``resource_limit``.
        IntakeChildFailed: the platform's fault: the directory cannot be read, the child cannot be started.
    """
    try:
        arguments = [f"--path={path.absolute()}"]
        arguments += [] if rewritten is None else [f"--rewritten={rewritten.absolute()}"]
        printed = run_child("deploy.contract.weights", arguments, limits or Limits())
        answer = ChildAnswer.from_bytes(printed)
    except ResourceLimitExceeded as error:
        raise ModelRefused("resource_limit", str(error)) from error
    except DocumentError as error:
        raise IntakeChildFailed(str(error)) from error
    if answer.directory is not None:
        return answer.directory
    if answer.refusal is None:
        raise IntakeChildFailed("the child printed an empty answer")
    raise ModelRefused(answer.refusal.code, answer.refusal.message, file=answer.refusal.file)
