"""A service to ask, with one thing of each kind in it."""

from pathlib import Path
from typing import Any
from typing import Final

import httpx

STAND_IN: Final = Path(__file__).parents[1] / "stand_ins" / "embedded_service.py"
"""The service, whose jobs and servers are stand-ins."""
KEY: Final = "correct-horse-battery"
ENVIRONMENT: Final = {"TEMPER_API_KEY": KEY, "TEMPER_RECONCILE_INTERVAL_S": "0.5"}
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 5
REVISION = "0123456789abcdef0123456789abcdef01234567"


def things_in(client: httpx.Client) -> dict[str, list[str]]:
    """Makes one of each kind; their ids by the names of the parameters of paths."""

    def made(path: str, **body: Any) -> dict[str, Any]:
        return dict(client.post(path, **body).raise_for_status().json())

    file = made("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", ROWS)})["id"]
    upload = {"filename": "u.jsonl", "purpose": "fine-tune", "bytes": 64, "mime_type": "text/jsonl"}
    hub = {"type": "hub", "repo": "org/tiny", "revision": REVISION}
    base = made("/v1/base_models", json={"id": "tiny", "source": hub})["id"]
    job = made("/v1/fine_tuning/jobs", json={"model": base, "training_file": file})["id"]
    return {
        "file_id": [file],
        "upload_id": [made("/v1/uploads", json=upload)["id"]],
        "base_model_id": [base],
        "model": [base],
        "job_id": [job],
        "scan_id": [made("/v1/scans", json={"file": file, "probes": []})["id"]],
        "project_id": ["default", made("/v1/organization/projects", json={"name": "other"})["id"]],
    }
