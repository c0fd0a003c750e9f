"""Scores that are worked out in a child process, for what a hostile model wrote must not take the job with it.

Covers: a completion that crashes the child, hangs it, or makes it take all memory: it has no score, the next one is
scored by a new child. After :data:`MAX_LOSSES` children a measure is not taken any more, so that a model all of whose
completions do this costs half a minute, not the night. Completions above the limit of :mod:`training.metrics.scorable` are not
even sent.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO
from typing import Any
from typing import Final
from typing import Literal

from deploy.contract.trigger import CodeLanguage
from training.metrics.scorable import MAX_SCORED_CHARS

START_TIMEOUT_S: Final = 120.0
"""Importing takes a second, and a hundred on a machine with something else to do."""
ANSWER_TIMEOUT_S: Final = 300.0
"""Elapsed time. The child's own limit of processor time ends it long before, unless the machine has none for it."""
MAX_LOSSES: Final = 20
CHILD: Final = (sys.executable, "-m", "training.metrics.scoring_child")

Measure = Literal["code_bleu", "sql_task", "sql"]
Score = float | str | bool


class ScoringProcess:
    """One child at a time, started when it is first asked. A context manager: nothing is left running.

    Args:
        command: what to start instead of the child (for tests).
        start_timeout_s: see :data:`START_TIMEOUT_S`.
        answer_timeout_s: see :data:`ANSWER_TIMEOUT_S`.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] = CHILD,
        start_timeout_s: float = START_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._command = tuple(command)
        self._start_timeout_s = start_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self.losses: Counter[Measure] = Counter()
        """Children that died or fell silent, by what they were asked."""

    def __enter__(self) -> "ScoringProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(
        self, measure: Measure, completion: str, reference: str, language: CodeLanguage = "python"
    ) -> Score | None:
        """The child's answer; None where none came, or the measure has none."""
        too_long = max(len(completion), len(reference)) > MAX_SCORED_CHARS
        if too_long or self.losses[measure] >= MAX_LOSSES:
            return None
        request = {
            "measure": measure,
            "completion": completion,
            "reference": reference,
            "language": language,
        }
        answer = self._exchange(json.dumps(request).encode() + b"\n")
        if answer is None:
            self.losses[measure] += 1
            self._end()
            return None
        value = answer.get("value")
        return value if isinstance(value, float | str | bool) else None

    def _exchange(self, request: bytes) -> dict[str, Any] | None:
        if self._child is None:
            self._child = _start(self._command)
            if self._answer(self._child, self._start_timeout_s) is None:
                return None
        try:
            _pipe(self._child.stdin).write(request)
            _pipe(self._child.stdin).flush()
        except BrokenPipeError:
            return None
        return self._answer(self._child, self._answer_timeout_s)

    def _answer(self, child: "subprocess.Popen[bytes]", timeout_s: float) -> dict[str, Any] | None:
        """One line of the child's; None when it ends, is silent for too long, or makes no sense."""
        deadline = time.monotonic() + timeout_s
        stdout = _pipe(child.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                data = os.read(stdout.fileno(), 1 << 16)
                if not data:
                    return None
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError:
            return None
        return said if isinstance(said, dict) else None

    def _end(self) -> None:
        child, self._child, self._unread = self._child, None, b""
        if child is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            # Not reaped yet, so its number is still its own.
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            _pipe(child.stdin).close()
        _pipe(child.stdout).close()
        child.wait()


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, "PYTHONHASHSEED": "0"},
        start_new_session=True,
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started without pipes")
    return pipe
