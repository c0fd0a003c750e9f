"""The child process that scores what a model wrote: ``python -m training.metrics.scoring_child``.

Reads a JSON object a line, ``{"measure": "code_bleu" | "sql_task" | "sql", "completion", "reference", "language"}``, and answers each
with one, ``{"value": ...}``: points, an outcome, or whether a reference is a task; null where there is none. Started by
:mod:`training.metrics.scoring_process` with a fixed PYTHONHASHSEED: CodeBLEU's data flow follows the order of sets.

Covers: a completion that takes exponential time, a native stack, or all memory. CPU time for each answer, memory, and
file sizes (0: no file can be written) are limited by the kernel; beyond them this process dies and its parent goes on.
"""

import json
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from typing import Any
from typing import Final

from training.metrics.code_bleu import code_bleu
from training.metrics.sql_execution import compare_sql
from training.metrics.sql_execution import is_executable

CPU_LIMIT_S: Final = 1.0
"""Of processor time for each answer, however busy the machine is. The slowest of Lyra's takes 0.05."""
MEMORY_LIMIT_BYTES: Final = 1 << 30
"""Of address space, the interpreter included."""
SQLITE_MEMORY_BYTES: Final = 64 << 20


def _limit_process() -> None:
    """Once everything is imported; what is not asked for cannot be raised again."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"PRAGMA hard_heap_limit = {SQLITE_MEMORY_BYTES}")


def _value(request: dict[str, Any]) -> float | str | bool | None:
    completion, reference = request["completion"], request["reference"]
    match request["measure"]:
        case "code_bleu":
            return code_bleu(completion, reference, request["language"]).score
        case "sql_task":
            return is_executable(reference)
        case _:
            return compare_sql(completion, reference)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": _value(request)}
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
    ) as error:
        return {"value": None, "error": type(error).__name__}
    except (TypeError, ValueError) as error:
        # The packages were written for code that people wrote.
        return {"value": None, "error": type(error).__name__}


def main() -> None:
    """Answer until stdin ends."""
    _limit_process()
    # The default action of SIGPROF ends the process, native code or not.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        said = json.dumps(_answer(json.loads(line)))
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        print(said, flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main()
