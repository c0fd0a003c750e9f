"""What the API shows of the audit log."""

from typing import Literal

from pydantic import BaseModel

from service.audit.rows import AuditRow


class AuditActor(BaseModel):
    """Who asked."""

    type: Literal["api_key", "unknown"]
    key_id: str | None
    """Null is the operator's own key, or none."""
    address: str | None


class AuditObject(BaseModel):
    """``organization.audit_log``."""

    id: str
    object: Literal["organization.audit_log"] = "organization.audit_log"
    type: str
    """Method and template of the route."""
    effective_at: int
    project: str | None
    actor: AuditActor
    resource: str | None
    status: int
    """What was answered."""
    code: str | None
    """Of the error, where it was refused."""
    request_id: str
    times: int
    """Equal ones within a second are one entry."""


def audit_object(row: AuditRow) -> AuditObject:
    """An entry as it is read."""
    kind: Literal["api_key", "unknown"] = "unknown" if row.project is None else "api_key"
    return AuditObject(
        id=row.id,
        type=row.action,
        effective_at=int(row.at),
        project=row.project,
        actor=AuditActor(type=kind, key_id=row.key_id, address=row.address),
        resource=row.resource,
        status=row.status,
        code=row.code,
        request_id=row.request_id,
        times=row.times,
    )
