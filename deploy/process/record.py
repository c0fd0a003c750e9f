"""The files of one supervised process: who writes which, and how. Standard library only.

order.json  by the table, before anything starts: what to run
lock        held (flock) by the supervisor as long as it lives
state.json  by the supervisor, once the child runs: who they are
exit.json   by the supervisor, when nothing of the child is left: how it ended
lost.json   by the table, when the supervisor died without a word and the rest was swept
log.txt     by the child: its output and its errors
scratch/    the child's own
"""

import json
import os
from pathlib import Path
from typing import Any
from typing import Final

ORDER: Final = "order.json"
LOCK: Final = "lock"
STATE: Final = "state.json"
EXIT: Final = "exit.json"
LOST: Final = "lost.json"
LOG: Final = "log.txt"
SCRATCH: Final = "scratch"


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object so that a reader sees all of it or nothing, a power cut included."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def read_record(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None when there is none or it cannot be read as one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
