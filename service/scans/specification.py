"""From a validated row to the spec of an attempt. The same row and attempt always give the same bytes."""

from typing import Any

from pydantic import TypeAdapter

from deploy.contract.scan import ScanSpec
from service.tables import ScanRow

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def make_spec(row: ScanRow, attempt: int, *, store_uri: str) -> ScanSpec:
    """The spec of ``attempt`` of a scan whose file was validated.

    Raises:
        ValueError: it was not.
    """
    if row.inputs is None:
        raise ValueError(f"{row.id} has no validated file")
    document = {
        "scan_id": row.id,
        "attempt": attempt,
        "store_uri": store_uri,
        "file": row.inputs["file"],
        **{name: row.options[name] for name in ("probes", "payloads", "limits")},
        "seed": row.seed,
        "created_at": row.created_at,
    }
    return ScanSpec.model_validate_json(_ANY.dump_json(document))
