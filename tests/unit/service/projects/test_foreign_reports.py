"""Another project's report answers like one that never was."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.fleet import file_row
from benchmarks.fleet import job_row
from service.context import Context

MISSING = "ftjob-" + "f" * 32
THEIRS = "ftjob-" + "a" * 32


@pytest.mark.parametrize("form", ["", ".json", ".html", ".sarif", ".jsonl", ".junit.xml"])
def test_k8_a_foreign_report_answers_like_a_missing_one(
    tenant: Callable[..., Any], context: Context, form: str
) -> None:
    owner, stranger = tenant(), tenant()
    with context.database.writing() as session:
        file, job = file_row(), job_row(THEIRS)
        file.project = job.project = owner.project
        session.add(file)
        session.flush()
        session.add(job)
    own = owner("GET", f"/v1/reports/{THEIRS}{form}")
    assert (own.status_code, own.json()["error"]["code"]) == (404, "report_not_ready")
    foreign = stranger("GET", f"/v1/reports/{THEIRS}{form}")
    missing = stranger("GET", f"/v1/reports/{MISSING}{form}")
    assert (foreign.status_code, missing.status_code) == (404, 404)
    told = [answer.json() | {"instance": ""} for answer in (foreign, missing)]
    assert str(told[0]).replace(THEIRS, "ID") == str(told[1]).replace(MISSING, "ID")
    assert foreign.json()["error"]["code"] == "fine_tuning_job_not_found"
