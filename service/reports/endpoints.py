"""The routes of reports: JSON for programs, one page for people."""

from typing import Literal

from fastapi import APIRouter
from fastapi import Request
from starlette.responses import HTMLResponse
from starlette.responses import JSONResponse
from starlette.responses import Response

from deploy.contract.report import Report
from deploy.store.protocol import ObjectMissing
from service.context import Context
from service.context import ContextDep
from service.errors import NotFound
from service.errors import ServiceError
from service.jobs import repository
from service.jobs.verification import BadResult
from service.jobs.verification import load_report
from service.jobs.verification import load_result
from service.reports.page import render_page
from service.reports.page import security_headers
from service.reports.summary import report_document

router = APIRouter(prefix="/reports", tags=["reports"])
HTML_SUFFIX = ".html"


def find_report(context: Context, job_id: str) -> Report:
    """The believed report of a job that succeeded, read and checked again each time.

    Raises:
        NotFound: there is no such job, or it has no report (yet).
        ServiceError: what lies in the store is not what was verified.
    """
    with context.database.reading() as session:
        row = repository.get(session, job_id)
    if row is None:
        raise NotFound(f"There is no fine-tuning job {job_id!r}.", code="fine_tuning_job_not_found")
    if row.status != "succeeded":
        raise NotFound(f"{job_id} is {row.status} and has no report.", code="report_not_ready")
    try:
        return load_report(context.store, *load_result(context.store, job_id))
    except (BadResult, ObjectMissing) as error:
        raise ServiceError(f"The report of {job_id} was damaged: {error}.", code="report_damaged") from error


def _prefers_html(accept: str) -> bool:
    """Whether a browser asks: it names text/html before anything that JSON would satisfy."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {"text/html", "application/xhtml+xml"}:
            return True
        if kind in {"application/json", "*/*"}:
            return False
    return False


@router.get(
    "/{job_id}",
    response_class=Response,
    responses={200: {"content": {"application/json": {}, "text/html": {}}, "description": "The report."}},
)
def retrieve(
    job_id: str, request: Request, context: ContextDep, format: Literal["json", "html"] | None = None
) -> Response:
    """The report; as a page for ``?format=html``, for ``{job}.html``, and for browsers."""
    as_page = format == "html" or job_id.endswith(HTML_SUFFIX)
    if format is None and not as_page:
        as_page = _prefers_html(request.headers.get("accept", ""))
    report = find_report(context, job_id.removesuffix(HTML_SUFFIX))
    if as_page:
        return HTMLResponse(render_page(report), headers={**security_headers(), "Vary": "Accept"})
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    return JSONResponse(report_document(report), headers=headers)
