"""The routes of scans."""

from typing import Annotated
from typing import Final
from typing import Literal

from fastapi import APIRouter
from fastapi import Header
from fastapi import Query
from fastapi import Request
from starlette.responses import JSONResponse

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import ContextDep
from service.context import Reading
from service.context import Writing
from service.errors import BadRequest
from service.limits.receiving import quotas_of
from service.paging import Page
from service.paging import page_of
from service.scans import service
from service.scans.repository import SCANS
from service.scans.sarif import findings_log
from service.scans.schemas import CreateScan
from service.scans.view import ScanEventView
from service.scans.view import ScanRowView
from service.scans.view import ScanView
from service.scans.view import view_event
from service.scans.view import view_row
from service.scans.view import view_scan
from service.work.creation import Repetition
from service.work.metadata import metadata_of

router = APIRouter(prefix="/scans", tags=["scans"], dependencies=[requires("train")])
Limit = Annotated[int, Query(ge=1, le=100)]
SARIF: Final = "application/sarif+json"


@router.post("")
def create(
    *,
    body: Annotated[CreateScan, json_body(CreateScan)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
    once: Once,
    x_stainless_retry_count: Annotated[str | None, Header()] = None,
) -> ScanView:
    """Look for suspicious rows in a training file."""
    once.begin(session, body)
    repetition = Repetition.of(once, x_stainless_retry_count)
    quotas = quotas_of(context, session, caller.project)
    row = service.create_scan(
        session, caller.project, body, repetition, now=context.clock.now(), admit=quotas.admit_work
    )
    return once.done(session, view_scan(row))


@router.get("")
def list_scans(
    request: Request, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[ScanView]:
    """Scans, the newest first; ``metadata[key]=value`` keeps those with that pair."""
    cursor = None if after is None else SCANS.get(session, caller.project, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no scan {after!r} to continue after.", param="after")
    rows = SCANS.page(session, caller.project, after=cursor, limit=limit + 1, metadata=metadata_of(request))
    return page_of([view_scan(row) for row in rows], limit=limit)


@router.get(
    "/{scan_id}",
    response_model=ScanView,
    responses={200: {"content": {SARIF: {"schema": {"type": "object"}}}, "description": "The scan."}},
)
def retrieve(
    scan_id: str, context: ContextDep, caller: Caller, format: Literal["json", "sarif"] = "json"
) -> ScanView | JSONResponse:
    """One scan; its findings in SARIF for ``?format=sarif``."""
    if format == "sarif":
        log = findings_log(service.find_scan(context, caller.project, scan_id).findings)
        headers = {
            "Cache-Control": "private, no-store",
            "Content-Disposition": f'attachment; filename="{scan_id}.sarif"',
            "X-Content-Type-Options": "nosniff",
        }
        return JSONResponse(log, media_type=SARIF, headers=headers)
    with context.database.reading() as session:
        return view_scan(service.require(session, caller.project, scan_id))


@router.post("/{scan_id}/cancel")
def cancel(scan_id: str, session: Writing, context: ContextDep, caller: Caller) -> ScanView:
    """Cancel a scan."""
    return view_scan(service.cancel_scan(session, caller.project, scan_id, now=context.clock.now()))


@router.get("/{scan_id}/events")
def events(
    scan_id: str, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[ScanEventView]:
    """What happened, the newest first."""
    scan = service.require(session, caller.project, scan_id)
    cursor = None if after is None else SCANS.get_event(session, scan, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no event {after!r} to continue after.", param="after")
    rows = SCANS.events_page(session, scan, after=cursor, limit=limit + 1)
    return page_of([view_event(row) for row in rows], limit=limit)


@router.get("/{scan_id}/rows")
def rows(
    scan_id: str,
    context: ContextDep,
    caller: Caller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[ScanRowView]:
    """The suspicious rows, the most suspicious first."""
    found = service.find_scan(context, caller.project, scan_id).findings.listed
    start = 0
    if after is not None:
        start = next((rank for rank, each in enumerate(found, 1) if f"row-{each.row}" == after), 0)
        if start == 0:
            raise BadRequest(f"There is no row {after!r} to continue after.", param="after")
    shown = found[start : start + limit + 1]
    return page_of([view_row(rank, each) for rank, each in enumerate(shown, start + 1)], limit=limit)
