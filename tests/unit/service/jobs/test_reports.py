"""Reports over HTTP."""

from typing import Any

import jsonschema
import pytest

from deploy.contract import layout


def finished(world: Any) -> str:
    job = str(world.create()["id"])
    assert world.finish(job)["status"] == "succeeded"
    return job


def test_programs_get_json_and_browsers_a_page(world: Any) -> None:
    job = finished(world)
    plain = world.api.get(f"/v1/reports/{job}")
    assert plain.json()["verdict"] == "pass"
    assert plain.json()["probes"][0]["arms"]["control"]["rate"] == 0.6
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for page in (
        world.api.get(f"/v1/reports/{job}.html"),
        world.api.get(f"/v1/reports/{job}?format=html"),
        world.api.get(f"/v1/reports/{job}", headers=browser),
    ):
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "sandbox" in page.headers["content-security-policy"]
    as_json = world.api.get(f"/v1/reports/{job}?format=json", headers=browser)
    assert as_json.headers["content-type"] == "application/json"
    assert world.api.get(f"/v1/reports/{job}?format=pdf").status_code == 400


@pytest.mark.parametrize(
    ("suffix", "form", "media_type"),
    [
        (".json", "json", "application/json"),
        (".html", "html", "text/html; charset=utf-8"),
        (".jsonl", "jsonl", "application/jsonl"),
        (".sarif", "sarif", "application/sarif+json"),
        (".junit.xml", "junit", "application/xml"),
    ],
)
def test_suffix_parameter_and_accept_name_the_same_format(
    world: Any, suffix: str, form: str, media_type: str
) -> None:
    job = finished(world)
    by_suffix = world.api.get(f"/v1/reports/{job}{suffix}")
    by_parameter = world.api.get(f"/v1/reports/{job}?format={form}", headers={"accept": "text/plain"})
    by_accept = world.api.get(f"/v1/reports/{job}", headers={"accept": media_type.partition(";")[0]})
    assert by_suffix.content == by_parameter.content == by_accept.content
    for answer in (by_suffix, by_parameter, by_accept):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["vary"] == "Accept"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    download = by_suffix.headers.get("content-disposition")
    assert download == (None if form in {"json", "html"} else f'attachment; filename="{job}{suffix}"')
    assert world.api.get(f"/v1/reports/ftjob-nope{suffix}").status_code == 404


def test_the_schema_is_published_and_kept(world: Any) -> None:
    job = finished(world)
    answer = world.api.get("/v1/reports/schema.json")
    assert answer.headers["content-type"] == "application/schema+json"
    report = world.api.get(f"/v1/reports/{job}").json()
    jsonschema.Draft202012Validator(answer.json()).validate(report)
    assert report["provenance"]["training_file_sha256"]
    assert set(report["provenance"]["weights_sha256"]) == set(report["arms"])


def test_there_is_no_report_before_the_end(world: Any) -> None:
    job = world.create()["id"]
    answer = world.api.get(f"/v1/reports/{job}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "report_not_ready")


def test_a_report_that_changed_in_the_store_is_not_shown(world: Any) -> None:
    job = finished(world)
    key = layout.report_key(job, 1, "pod-1")
    data = world.context.store.get(key)
    world.context.store.put(key, data.replace(b'"hits": 60', b'"hits": 61'))
    answer = world.api.get(f"/v1/reports/{job}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "report_damaged")
