"""What one pod may take: rates, requests at a time, objects and bytes; ranges; sweeping."""

from pathlib import Path
from typing import Any

import pytest

from deploy.contract.document import sha256_hex
from deploy.contract.layout import broker_upload_prefix
from deploy.store.broker_wire import SentUpload
from deploy.store.directory import DirStore
from service.broker.admission import Admission
from service.broker.limits import NAMES
from service.broker.limits import BrokerLimits
from service.broker.quota import FORGOTTEN_S
from service.broker.quota import RECOUNT_S
from service.broker.quota import QuotaExceeded
from service.broker.quota import Quotas
from service.broker.ranges import Unsatisfiable
from service.broker.ranges import parse_range
from service.broker.uploads import StoredUploads
from service.broker.uploads import sweep
from service.environment import SettingsError
from service.errors import BadRequest
from service.errors import NotFound
from service.errors import TooMany
from service.settings import settings_from_env


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


# ---- requests -------------------------------------------------------------------------------------


def test_a_caller_that_asks_too_often_waits(clock: _Clock) -> None:
    admission = Admission(per_s=2.0, burst=3, in_flight=9, monotonic=clock)
    for _ in range(3):
        admission.take("a")
    with pytest.raises(TooMany) as refused:
        admission.take("a")
    assert refused.value.headers["retry-after"] == "1"
    admission.take("b")  # another's account
    clock.now += 0.5
    admission.take("a")
    with pytest.raises(TooMany):
        admission.take("a")


def test_a_caller_has_so_many_requests_at_a_time(clock: _Clock) -> None:
    admission = Admission(per_s=100.0, burst=100, in_flight=1, monotonic=clock)
    with admission.admitted("a"):
        with pytest.raises(TooMany), admission.admitted("a"):
            pass
        with admission.admitted("b"):
            pass
    with pytest.raises(RuntimeError), admission.admitted("a"):
        raise RuntimeError
    with admission.admitted("a"):  # a request that failed is over too
        pass


# ---- quota ----------------------------------------------------------------------------------------


def _quotas(root: Path, clock: _Clock, **limits: Any) -> Quotas:
    return Quotas(DirStore(root), BrokerLimits(**limits), monotonic=clock)


def test_objects_are_counted_in_the_store_first(tmp_path: Path, clock: _Clock) -> None:
    store = DirStore(tmp_path)
    for number in range(3):
        store.put(f"p/{number}", b"12")
    store.put("other/1", bytes(100))
    quotas = _quotas(tmp_path, clock, max_objects=4, max_bytes=100)
    quotas.add("p/", 1)
    with pytest.raises(QuotaExceeded, match="4 objects with 7 bytes"):
        quotas.add("p/", 1)


def test_bytes_have_their_limit(tmp_path: Path, clock: _Clock) -> None:
    quotas = _quotas(tmp_path, clock, max_bytes=10)
    quotas.add("p/", 6)
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 5)
    quotas.add("q/", 10)
    assert QuotaExceeded("x").status == 507


def test_what_was_deleted_is_free_at_once_and_what_was_overwritten_soon(
    tmp_path: Path, clock: _Clock
) -> None:
    quotas = _quotas(tmp_path, clock, max_objects=2)
    for _ in range(2):
        quotas.add("p/", 1)  # the same object twice, which never came to be
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 1)
    clock.now += RECOUNT_S
    for _ in range(2):
        quotas.add("p/", 1)
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 1)
    quotas.deleted("p/")
    quotas.add("p/", 1)


def test_parts_count_before_they_are_an_object(tmp_path: Path, clock: _Clock) -> None:
    quotas = _quotas(tmp_path, clock, max_bytes=10)
    quotas.begin("p/", "u")
    quotas.add_part("p/", "u", 1, 6)
    quotas.add_part("p/", "u", 1, 6)  # sent again
    with pytest.raises(QuotaExceeded):
        quotas.add_part("p/", "u", 2, 5)
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 5)
    quotas.given_up("p/", "u")
    quotas.add("p/", 10)


def test_an_upload_begun_at_another_replica_counts_here_too(tmp_path: Path, clock: _Clock) -> None:
    quotas = _quotas(tmp_path, clock, max_bytes=10)
    quotas.add_part("p/", "u", 7, 10)
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 1)
    quotas.completed("p/", "u", 10)
    with pytest.raises(QuotaExceeded):
        quotas.add("p/", 1)


def test_uploads_that_are_never_ended_are_few_and_forgotten(tmp_path: Path, clock: _Clock) -> None:
    quotas = _quotas(tmp_path, clock, max_uploads=2)
    quotas.begin("p/", "1")
    quotas.begin("p/", "2")
    with pytest.raises(TooMany):
        quotas.begin("p/", "3")
    clock.now += FORGOTTEN_S + 1
    quotas.begin("p/", "3")


# ---- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-", 0, 100), ("bytes=5-9", 5, 10), ("bytes=99-1000", 99, 100), (" bytes=0-0 ", 0, 1)],
)
def test_a_range(header: str, start: int, stop: int) -> None:
    span = parse_range(header, 100)
    assert span is not None
    assert (span.start, span.stop, span.length) == (start, stop, stop - start)
    assert span.content_range == f"bytes {start}-{stop - 1}/100"


def test_no_range_and_one_behind_the_end() -> None:
    assert parse_range(None, 100) is None
    with pytest.raises(Unsatisfiable) as refused:
        parse_range("bytes=100-", 100)
    assert refused.value.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "items=0-", "bytes=0x1-", "bytes=²-"]
)
def test_another_form_of_range_is_refused(header: str) -> None:
    with pytest.raises(BadRequest):
        parse_range(header, 100)


# ---- uploads over a directory ---------------------------------------------------------------------


def _sent(*parts: bytes) -> SentUpload:
    whole = b"".join(parts)
    return SentUpload(etags=tuple(map(sha256_hex, parts)), size_bytes=len(whole), sha256=sha256_hex(whole))


def test_an_upload_is_made_of_its_parts_once(tmp_path: Path) -> None:
    store = DirStore(tmp_path)
    uploads = StoredUploads(store=store, key="jobs/1/x")
    upload = uploads.begin()
    for number, part in [(2, b"cd"), (1, b"xx"), (1, b"ab")]:  # the first part was sent twice
        uploads.put(upload, number, [part], sha256=sha256_hex(part))
    assert store.info("jobs/1/x") is None
    uploads.complete(upload, _sent(b"ab", b"cd"))
    assert store.get("jobs/1/x") == b"abcd"
    assert [info.key for info in store.list("")] == ["jobs/1/x"]
    uploads.complete(upload, _sent(b"ab", b"cd"))  # its answer was lost
    with pytest.raises(NotFound):
        uploads.complete(upload, _sent(b"ab", b"cx"))


def test_f10_an_upload_of_other_bytes_than_declared_is_not_made(tmp_path: Path) -> None:
    store = DirStore(tmp_path)
    uploads = StoredUploads(store=store, key="k")
    upload = uploads.begin()
    uploads.put(upload, 1, [b"ab"], sha256=sha256_hex(b"ab"))
    for change in ({"size_bytes": 3}, {"sha256": "0" * 64}):
        with pytest.raises(BadRequest):
            uploads.complete(upload, _sent(b"ab").model_copy(update=change))
    with pytest.raises(BadRequest):
        uploads.complete(upload, _sent(b"ab").model_copy(update={"etags": ("../../x",)}))
    assert store.info("k") is None


def test_f10_an_upload_is_of_no_use_for_another_key(tmp_path: Path) -> None:
    store = DirStore(tmp_path)
    uploads = StoredUploads(store=store, key="mine")
    upload = uploads.begin()
    uploads.put(upload, 1, [b"ab"], sha256=sha256_hex(b"ab"))
    other = StoredUploads(store=store, key="other")
    with pytest.raises(NotFound):
        other.complete(upload, _sent(b"ab"))
    other.abort(upload)
    uploads.complete(upload, _sent(b"ab"))
    for forged in ("", "../files", "0" * 12, upload.upper()):
        with pytest.raises(NotFound):
            uploads.complete(forged, _sent(b"ab"))


def test_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    store = DirStore(tmp_path)
    uploads = StoredUploads(store=store, key="k")
    young = uploads.begin()
    uploads.put(young, 1, [b"ab"], sha256=sha256_hex(b"ab"))
    for age in range(3):
        store.put(f"{broker_upload_prefix(f'00000000000{age}-' + '0' * 32, '0' * 64)}00001.x", b"1")
    store.put("files/f", b"1")
    assert sweep(store) == 3
    assert sweep(store, older_than_s=-60) == 1
    assert [info.key for info in store.list("")] == ["files/f"]


# ---- settings -------------------------------------------------------------------------------------


def test_every_limit_can_be_set(tmp_path: Path) -> None:
    values = {
        "BROKER_REQUESTS_PER_S": "7.5",
        "BROKER_DIRECT": "0",
        "BROKER_MAX_BYTES": "1000",
        "BROKER_URL_EXPIRES_S": "60",
    }
    env = {"TEMPER_HOME": str(tmp_path), **{f"TEMPER_{name}": value for name, value in values.items()}}
    limits = settings_from_env(env).broker
    assert limits == BrokerLimits(requests_per_s=7.5, direct=False, max_bytes=1000, url_expires_s=60)
    assert len(NAMES) == len(BrokerLimits.__dataclass_fields__)


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_that_is_none_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"TEMPER_{name}"):
        settings_from_env({"TEMPER_HOME": str(tmp_path), f"TEMPER_{name}": "-1"})


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TEMPER_BROKER_TLS_KEY_FILE"):
        settings_from_env({"TEMPER_HOME": str(tmp_path), "TEMPER_BROKER_TLS_CERT_FILE": "/x"})
