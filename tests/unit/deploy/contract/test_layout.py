import pytest

from deploy.contract import layout


def test_a_scan_lies_beside_the_jobs_in_the_same_form() -> None:
    assert layout.spec_key("ftjob-a1", 2) == "jobs/ftjob-a1/attempts/2/spec.json"
    assert layout.spec_key("scan-a1", 2) == "scans/scan-a1/attempts/2/spec.json"
    assert layout.result_key("scan-a1") == "scans/scan-a1/result.json"
    assert layout.findings_key("scan-a1", 2, "pod") == "scans/scan-a1/attempts/2/pod/findings.json"
    assert (
        layout.event_segment_key("scan-a1", 1, "p", 7) == "scans/scan-a1/attempts/1/p/events/00000007.jsonl"
    )


@pytest.mark.parametrize("job_id", ["ftjob-a", "scan-a", "ftjob-" + "9" * 40, "scan-0z"])
@pytest.mark.parametrize("attempt", [1, 999_999])
def test_a_name_leads_back_to_its_job(job_id: str, attempt: int) -> None:
    name = layout.job_name(job_id, attempt)
    assert layout.job_of_name(name) == (job_id, attempt)
    assert len(name) <= 63


@pytest.mark.parametrize(
    "name", ["harden-a-0", "harden-a", "scan--1", "scan-A-1", "other-a-1", "scan-a-1-x", ""]
)
def test_a_name_that_is_not_ours_is_nobodys(name: str) -> None:
    assert layout.job_of_name(name) is None


def test_the_name_of_a_pod_leads_back_to_its_endpoint() -> None:
    assert layout.endpoint_of_pod("ep-0f3a9-7d4b9c6f5d-x2x9z") == "ep-0f3a9"
    assert layout.endpoint_order_key("ep-0f3a9") == "endpoints/ep-0f3a9/order.json"


@pytest.mark.parametrize(
    "name", ["ep-0f3a9", "ep-0f3a9-x2x9z", "harden-a-1-x2x9z", "ep--7d4b9c6f5d-x2x9z", ""]
)
def test_the_name_of_another_pod_is_no_endpoints(name: str) -> None:
    assert layout.endpoint_of_pod(name) is None
