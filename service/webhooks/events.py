"""What there is to tell: types of events, their ids and their form, which is OpenAI's.

The id of an event is computed from what it tells: told again, after a crash or by a restored database, it has the
same one, and a receiver that remembers ids acts once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Literal
from typing import get_args

from deploy.contract.document import sha256_hex
from deploy.contract.layout import is_scan

EventType = Literal[
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "hardening.verdict",
    "scan.succeeded",
    "scan.failed",
    "scan.cancelled",
    "endpoint.ready",
    "endpoint.failed",
]
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)
REPORT_URL: Final = "report_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    id: str
    type: str
    created_at: int
    data: dict[str, Any]

    def body(self, public_url: str | None) -> bytes:
        """As it is sent, the same bytes at every try.

        Args:
            public_url: where receivers find this service; else they are told paths alone.
        """
        data = dict(self.data)
        if public_url is not None and data.get(REPORT_URL):
            data[REPORT_URL] = public_url + data[REPORT_URL]
        document = {
            "id": self.id,
            "object": "event",
            "created_at": self.created_at,
            "type": self.type,
            "data": data,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def events_of_end(work_id: str, values: Mapping[str, Any]) -> list[Event]:
    """What there is to tell of a job or a scan that is over.

    A job's verdict is an event whatever the end, so that a pipeline can wait for this one alone: of a job that
    failed or was cancelled it is null.

    Args:
        work_id: of the job or the scan.
        values: the columns of its end.
    """
    status, at = values["status"], int(values["finished_at"])
    outcome = values.get("outcome") or {}
    if is_scan(work_id):
        found = {name: outcome[name] for name in ("rows", "suspicious") if name in outcome}
        return [_event(f"scan.{status}", work_id, at, found)]
    verdict = {
        "job": work_id,
        "status": status,
        "model": values.get("fine_tuned_model"),
        "verdict": outcome.get("verdict"),
        REPORT_URL: f"/v1/reports/{work_id}" if status == "succeeded" else None,
    }
    return [
        _event(f"fine_tuning.job.{status}", work_id, at, {}),
        _event("hardening.verdict", work_id, at, verdict),
    ]


def event_of_endpoint(endpoint_id: str, version: int, status: str, model: str, *, at: int) -> Event:
    """An endpoint became ready, or failed: each time anew, so the version of its row tells one from another."""
    return _event(f"endpoint.{status}", endpoint_id, at, {"model": model}, nth=version)


def sample(event_type: str, event_id: str, *, at: int) -> Event:
    """An event that tells of nothing, to try a webhook with."""
    kind = event_type.partition(".")[0]
    subject = {"scan": "scan-test", "endpoint": "ep-test"}.get(kind, "ftjob-test")
    values = {"status": event_type.rpartition(".")[2], "finished_at": at}
    if kind == "endpoint":
        told = {"id": subject, "model": "test"}
    elif event_type == "hardening.verdict":
        values["status"] = "succeeded"
        told = events_of_end(subject, values)[1].data
    else:
        told = events_of_end(subject, values)[0].data
    return Event(id=event_id, type=event_type, created_at=at, data=told)


def _event(event_type: str, subject: str, at: int, data: Mapping[str, Any], *, nth: int = 0) -> Event:
    digest = sha256_hex(f"{event_type}/{subject}/{nth}".encode())
    return Event(id=f"event-{digest[:32]}", type=event_type, created_at=at, data={"id": subject, **data})
