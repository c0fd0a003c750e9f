"""The routes of reports: one document, in the format that is asked for."""

from fastapi import APIRouter
from fastapi import Request
from starlette.responses import JSONResponse
from starlette.responses import Response

from deploy.store.protocol import ObjectMissing
from service.auth import Caller
from service.auth import requires
from service.context import Context
from service.context import ContextDep
from service.errors import NotFound
from service.errors import ServiceError
from service.jobs import repository
from service.jobs.verification import load_report
from service.jobs.verification import load_result
from service.reports.formats import FormatName
from service.reports.formats import accepted
from service.reports.formats import by_name
from service.reports.formats import openapi_content
from service.reports.formats import split_suffix
from service.reports.provenance import provenance_of
from service.reports.published import PublishedReport
from service.reports.published import publish
from service.reports.published import report_schema
from service.work.stored import BadResult

router = APIRouter(prefix="/reports", tags=["reports"], dependencies=[requires("train")])


def find_report(context: Context, project: str, job_id: str) -> PublishedReport:
    """The report of a job that succeeded, read, checked and derived again each time.

    Raises:
        NotFound: there is no such job, or it has no report (yet).
        ServiceError: what lies in the store is not what was verified.
    """
    with context.database.reading() as session:
        row = repository.get(session, project, job_id)
    if row is None:
        raise NotFound(f"There is no fine-tuning job {job_id!r}.", code="fine_tuning_job_not_found")
    if row.status != "succeeded":
        raise NotFound(f"{job_id} is {row.status} and has no report.", code="report_not_ready")
    try:
        result, spec = load_result(context.store, job_id)
        return publish(load_report(context.store, result, spec), provenance_of(result, spec))
    except (BadResult, ObjectMissing) as error:
        raise ServiceError(f"The report of {job_id} was damaged: {error}.", code="report_damaged") from error


@router.get(
    "/schema.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}},
)
def schema() -> JSONResponse:
    """The JSON Schema (2020-12) of a report in JSON."""
    return JSONResponse(report_schema(), media_type="application/schema+json")


@router.get(
    "/{job_id}",
    response_class=Response,
    responses={
        200: {"model": PublishedReport, "content": openapi_content(), "description": "The report."},
    },
)
def retrieve(
    job_id: str, request: Request, context: ContextDep, caller: Caller, format: FormatName | None = None
) -> Response:
    """The report in the format of ``?format=``, of the suffix (``{job}.html``), or of the Accept header."""
    bare, chosen = split_suffix(job_id)
    if format is not None:
        chosen = by_name(format)
    chosen = chosen or accepted(request.headers.get("accept", ""))
    report = find_report(context, caller.project, bare)
    headers = {**chosen.headers(report.id), "Content-Type": chosen.content_type}
    return Response(chosen.render(report), headers=headers)
