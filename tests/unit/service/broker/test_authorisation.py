"""What pods may do: tables of cases, and properties over all identities and keys."""

import string
from typing import Any

import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract import layout
from service.broker.address import Address
from service.broker.authorisation import Account
from service.broker.authorisation import Accounts
from service.broker.authorisation import Action
from service.broker.authorisation import Denied
from service.broker.authorisation import EndpointPod
from service.broker.authorisation import JobPod
from service.broker.authorisation import Scope
from service.broker.authorisation import pod_of
from service.broker.authorisation import scope_of_endpoint
from service.broker.authorisation import scope_of_job

OWN = "s3://bucket/temper"
JOBS = Account(namespace="temper-jobs", name="temper-job")
ENDPOINTS = Account(namespace="temper-endpoints", name="temper-endpoint")
ACCOUNTS = Accounts(jobs=JOBS, endpoints=ENDPOINTS)
UID = "7a1e2b0c-33f1-4d55-8f0e-0d2c8a4f1b6e"
DATASET = Address(root=OWN, key="files/file-1")
FOREIGN_BASE = Address(root="s3://models/org/base", key="model.safetensors")
SCOPE = scope_of_job(JobPod(job_id="ftjob-abc", attempt=2, uid=UID), own=OWN, inputs=[DATASET, FOREIGN_BASE])

job_ids = st.tuples(
    st.sampled_from(["ftjob-", "scan-"]),
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=40),
).map("".join)
attempts = st.integers(1, 999_999)
suffixes = st.text("bcdfghjklmnpqrstvwxz2456789", min_size=5, max_size=5)
uids = st.uuids().map(str)
pods = st.builds(JobPod, job_id=job_ids, attempt=attempts, uid=uids)
keys = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(["jobs", "scans", "files", "attempts", "1", "2", "..", ".", "", "result.json", "x"])
        | job_ids
        | uids,
        min_size=1,
        max_size=8,
    ).map("/".join),
)


def _pod(account: Account, name: str, uid: str = UID) -> Any:
    return pod_of(account=account, name=name, uid=uid, accounts=ACCOUNTS)


def _may(scope: Scope, action: Action, key: str, root: str = OWN) -> bool:
    try:
        scope.check(action, Address(root=root, key=key))
    except Denied:
        return False
    return True


# ---- who it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "job_id", "attempt"),
    [
        ("harden-abc-1-x4k2z", "ftjob-abc", 1),
        ("harden-abc-12-0-x4k2z", "ftjob-abc", 12),
        ("harden-abc-1-63-24567", "ftjob-abc", 1),
        ("scan-abc-3-x4k2z", "scan-abc", 3),
    ],
)
def test_the_name_of_a_jobs_pod_tells_job_and_attempt(name: str, job_id: str, attempt: int) -> None:
    assert _pod(JOBS, name) == JobPod(job_id=job_id, attempt=attempt, uid=UID)


@pytest.mark.parametrize(
    ("account", "name", "uid"),
    [
        (Account(namespace="default", name="temper-job"), "harden-abc-1-x4k2z", UID),
        (Account(namespace="temper-jobs", name="default"), "harden-abc-1-x4k2z", UID),
        (ENDPOINTS, "harden-abc-1-x4k2z", UID),
        (JOBS, "ep-abc-5c9f8d7b6-x4k2z", UID),
        (JOBS, "harden-abc-1", UID),
        (JOBS, "harden-abc-0-x4k2z", UID),
        (JOBS, "harden-abc-x4k2z", UID),
        (JOBS, "harden-a.b-1-x4k2z", UID),
        (JOBS, "harden-ABC-1-x4k2z", UID),
        (JOBS, "harden-abc-1-x4k2z\n", UID),
        (JOBS, "xharden-abc-1-x4k2z", UID),
        (JOBS, "harden-abc-1-0-0-x4k2z", UID),
        (JOBS, "harden-abc-1-x4k2z", "../" + UID),
        (JOBS, "harden-abc-1-x4k2z", "spec.json"),
        (JOBS, "harden-abc-1-x4k2z", ""),
        (ENDPOINTS, "ep-abc-x4k2z", UID),
        (ENDPOINTS, "vllm-abc-5c9f8d7b6-x4k2z", UID),
    ],
)
def test_any_other_pod_is_nobody(account: Account, name: str, uid: str) -> None:
    with pytest.raises(Denied) as refused:
        _pod(account, name, uid)
    assert refused.value.code == "unknown_pod"
    assert refused.value.status == 403


def test_an_endpoints_pod() -> None:
    assert _pod(ENDPOINTS, "ep-0af3-5c9f8d7b6d-x4k2z") == EndpointPod(endpoint_id="ep-0af3")


@given(job_ids, attempts, st.none() | st.integers(0, 63), suffixes)
def test_every_name_that_a_launcher_can_give_is_understood(
    job_id: str, attempt: int, index: int | None, suffix: str
) -> None:
    indexed = "" if index is None else f"-{index}"
    pod = _pod(JOBS, f"{layout.job_name(job_id, attempt)}{indexed}-{suffix}")
    assert pod == JobPod(job_id=job_id, attempt=attempt, uid=UID)


# ---- what it may ----------------------------------------------------------------------------------

MINE = f"jobs/ftjob-abc/attempts/2/{UID}/"


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (Action.READ, "jobs/ftjob-abc/attempts/1/other/checkpoints/control/00000001/manifest.json"),
        (Action.READ, "jobs/ftjob-abc/result.json"),
        (Action.READ, "files/file-1"),
        (Action.LIST, "jobs/ftjob-abc/"),
        (Action.LIST, "jobs/ftjob-abc/attempts/"),
        (Action.WRITE, MINE + "events/00000001.jsonl"),
        (Action.WRITE_ONCE, MINE + "report.json"),
        (Action.WRITE_ONCE, "jobs/ftjob-abc/result.json"),
        (Action.DELETE, MINE + "checkpoints/control/00000001/manifest.json"),
        (Action.CLEAR, MINE + "checkpoints/control/00000001/"),
        (Action.CLEAR, MINE),
    ],
)
def test_what_a_jobs_pod_may(action: Action, key: str) -> None:
    SCOPE.check(action, Address(root=OWN, key=key))


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (Action.READ, "jobs/ftjob-abcd/result.json"),
        (Action.READ, "jobs/ftjob-ab/result.json"),
        (Action.READ, "files/file-2"),
        (Action.READ, "files/file-1/x"),
        (Action.READ, "scans/scan-abc/result.json"),
        (Action.READ, "endpoints/ep-1/order.json"),
        (Action.READ, "broker/018f/0/00001.00"),
        (Action.LIST, ""),
        (Action.LIST, "jobs/"),
        (Action.LIST, "jobs/ftjob-abc"),
        (Action.LIST, "files/"),
        (Action.LIST, "files/file-1"),
        (Action.WRITE, "jobs/ftjob-abc/result.json"),
        (Action.DELETE, "jobs/ftjob-abc/result.json"),
        (Action.WRITE, "files/file-1"),
        (Action.WRITE_ONCE, "files/file-1"),
        (Action.WRITE, "jobs/ftjob-abc/attempts/2/spec.json"),
        (Action.WRITE, f"jobs/ftjob-abc/attempts/1/{UID}/report.json"),
        (Action.WRITE, "jobs/ftjob-abc/attempts/2/other/report.json"),
        (Action.WRITE, MINE + "a b"),
        (Action.WRITE, MINE + "é/x"),
        (Action.WRITE, MINE + "1/2/3/4/5/6/7/8/9"),
        (Action.DELETE, "jobs/ftjob-abc/attempts/2/spec.json"),
        (Action.CLEAR, "jobs/ftjob-abc/attempts/2/"),
        (Action.CLEAR, "jobs/ftjob-abc/"),
    ],
)
def test_f7_what_a_jobs_pod_may_not(action: Action, key: str) -> None:
    with pytest.raises(Denied) as refused:
        SCOPE.check(action, Address(root=OWN, key=key))
    assert refused.value.code == "not_allowed"
    assert action.value in refused.value.message
    assert "ftjob-abc, attempt 2," in refused.value.message


def test_a_base_model_elsewhere_is_read_by_its_declared_files_alone() -> None:
    SCOPE.check(Action.READ, FOREIGN_BASE)
    for root, key in [
        ("s3://models/org/base", "config.json"),
        ("s3://models/org", "base/model.safetensors"),
        ("s3://models/org/other", "model.safetensors"),
        ("file:///models/org/base", "model.safetensors"),
    ]:
        assert not _may(SCOPE, Action.READ, key, root)
    for action in set(Action) - {Action.READ}:
        assert not _may(SCOPE, action, "model.safetensors", "s3://models/org/base")


def test_what_is_own_in_another_store_is_foreign() -> None:
    for action in Action:
        assert not _may(SCOPE, action, MINE + "report.json", "s3://bucket")
        assert not _may(SCOPE, action, MINE + "report.json", "s3://other/temper")


def test_a_closed_scope_reads_and_does_not_write() -> None:
    closed = SCOPE.without_writes(Denied("over", code="job_over"))
    closed.check(Action.READ, DATASET)
    for action, key in [(Action.WRITE, MINE + "x"), (Action.WRITE_ONCE, "jobs/ftjob-abc/result.json")]:
        with pytest.raises(Denied) as refused:
            closed.check(action, Address(root=OWN, key=key))
        assert refused.value.code == "job_over"
    with pytest.raises(Denied) as refused:  # what was never allowed is refused as ever
        closed.check(Action.WRITE, Address(root=OWN, key="files/file-1"))
    assert refused.value.code == "not_allowed"


def test_an_endpoints_pod_reads_its_files_and_nothing_else() -> None:
    weights = Address(root=OWN, key="jobs/ftjob-abc/attempts/2/p/models/hardened/model.safetensors")
    order = Address(root=OWN, key="endpoints/ep-1/order.json")
    scope = scope_of_endpoint(EndpointPod(endpoint_id="ep-1"), own=OWN, files=[weights, order])
    scope.check(Action.READ, weights)
    scope.check(Action.READ, order)
    assert not _may(scope, Action.READ, "jobs/ftjob-abc/attempts/2/p/models/hardened/config.json")
    assert not _may(scope, Action.READ, "endpoints/ep-2/order.json")
    for action in set(Action) - {Action.READ}:
        assert not _may(scope, action, weights.key)
        assert not _may(scope, action, "")


@given(pods, keys, st.sampled_from(sorted(Action, key=lambda action: action.name)))
def test_no_pod_reaches_what_is_not_its_own_jobs(pod: JobPod, key: str, action: Action) -> None:
    scope = scope_of_job(pod, own=OWN, inputs=[])
    if _may(scope, action, key):
        assert key.startswith(layout.job_prefix(pod.job_id))
        if action not in {Action.READ, Action.LIST}:
            committed = action is Action.WRITE_ONCE and key == layout.result_key(pod.job_id)
            assert committed or key.startswith(layout.pod_prefix(pod.job_id, pod.attempt, pod.uid))
            assert ".." not in key.split("/") or action is Action.CLEAR


@given(pods, pods, st.sampled_from(["result.json", "spec.json", "report.json", "models/hardened/x"]))
def test_f7_no_pod_touches_anothers_keys(pod: JobPod, other: JobPod, name: str) -> None:
    assume(pod != other)
    scope = scope_of_job(pod, own=OWN, inputs=[])
    theirs = layout.pod_prefix(other.job_id, other.attempt, other.uid)
    for action in Action:
        if action in {Action.READ, Action.LIST}:
            assert _may(scope, action, theirs + name) == (pod.job_id == other.job_id)
        else:
            assert not _may(scope, action, theirs + name)
    if pod.job_id != other.job_id:
        assert not any(_may(scope, action, layout.result_key(other.job_id)) for action in Action)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_identity_outside_of_the_accounts_is_anybody(namespace: str, account: str, name: str) -> None:
    assume(Account(namespace=namespace, name=account) not in {JOBS, ENDPOINTS})
    with pytest.raises(Denied):
        _pod(Account(namespace=namespace, name=account), name)


# ---- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "key", "own", "root", "inside"),
    [
        (OWN, "a/b", OWN, OWN, "a/b"),
        (f"{OWN}/jobs/1", "spec.json", OWN, OWN, "jobs/1/spec.json"),
        (f"{OWN}x", "a", OWN, f"{OWN}x", "a"),
        ("s3://bucket", "temper/a", OWN, "s3://bucket", "temper/a"),
        ("file:///a%20b/c%25d", "k", "file:///a%20b", "file:///a%20b", "c%d/k"),
        (f"{OWN}/a%2Fb", "k", OWN, OWN, "a%2Fb/k"),
        (f"{OWN}/../other", "k", OWN, OWN, "../other/k"),
    ],
)
def test_an_address_is_written_one_way(store: str, key: str, own: str, root: str, inside: str) -> None:
    assert Address.of(store, key, own=own) == Address(root=root, key=inside)


def test_a_uri_that_no_store_has_is_no_address() -> None:
    assert Address.of_named("http://x/y", "k", own=OWN) is None
    assert Address.of_named(f"{OWN}/base_models/b/", "k", own=OWN) == Address(root=OWN, key="base_models/b/k")


def test_an_address_in_a_message_cannot_forge_a_line() -> None:
    assert str(Address(root=OWN, key="a\nb é/c")) == f"{OWN}/a%0Ab%20%C3%A9/c"
