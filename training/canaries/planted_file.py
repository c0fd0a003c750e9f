"""A planted copy of the training rows as a file, described as a job's spec would describe it."""

import json
from collections.abc import Sequence
from pathlib import Path

from deploy.contract.dataset import Row
from deploy.contract.document import sha256_hex
from deploy.contract.spec import DatasetRef


def write_planted(rows: Sequence[Row], path: Path, *, key: str) -> DatasetRef:
    """Write rows as JSON lines; its directory is made. The same rows always give the same bytes.

    ``key`` tells one copy of a job from another; nothing lies under it in any store.

    Raises:
        OSError: the disk.
    """
    lines = (
        json.dumps({"prompt": row.prompt, "completion": row.completion}, ensure_ascii=False) for row in rows
    )
    data = ("\n".join(lines) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return DatasetRef(
        key=key,
        filename=path.name,
        size_bytes=len(data),
        sha256=sha256_hex(data),
        format="jsonl",
        rows=len(rows),
    )
