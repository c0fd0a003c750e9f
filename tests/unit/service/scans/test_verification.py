"""The result of a scan is checked to its last byte before anything of it is shown."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import findings_table

Tamper = Callable[[Any, str, dict[str, Any]], None]


def _foreign_scan(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["scan_id"] = "scan-other"


def _other_spec(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["spec_sha256"] = "0" * 64


def _no_such_attempt(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["attempt"] = 9


def _climbing(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["findings"]["key"] = "scans/../files/secret"


def _of_another_pod(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["pod"] = "another"


def _wrong_sha(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["findings"]["sha256"] = "0" * 64


def _wrong_table_sha(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["table"]["sha256"] = "0" * 64


def _wrong_size(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["table"]["size_bytes"] += 1


def _missing_table(store: Any, _scan: str, result: dict[str, Any]) -> None:
    store.delete(result["table"]["key"])


def _missing_findings(store: Any, _scan: str, result: dict[str, Any]) -> None:
    store.delete(result["findings"]["key"])


def _new_version(_store: Any, _scan: str, result: dict[str, Any]) -> None:
    result["version"] = 2


def _replace(store: Any, result: dict[str, Any], member: str, data: bytes) -> None:
    store.put(result[member]["key"], data)
    result[member] |= {"size_bytes": len(data), "sha256": sha256_hex(data)}


def _too_large(store: Any, _scan: str, result: dict[str, Any]) -> None:
    _replace(store, result, "findings", b" " * ((16 << 20) + 1))


def _formula_in_the_table(store: Any, _scan: str, result: dict[str, Any]) -> None:
    _replace(store, result, "table", b"row,score,detectors,reason\r\n1,1.0000,probe,=cmd()\r\n")


def _findings(change: Callable[[dict[str, Any]], None], name: str) -> Tamper:
    def tamper(store: Any, _scan: str, result: dict[str, Any]) -> None:
        document = json.loads(store.get(result["findings"]["key"]))
        change(document)
        data = json.dumps(document).encode()
        _replace(store, result, "findings", data)
        try:
            table = findings_table(ScanFindings.from_bytes(data))
        except ValueError:
            return
        _replace(store, result, "table", table)

    tamper.__name__ = name
    return tamper


TAMPERS: list[Tamper] = [
    _foreign_scan,
    _other_spec,
    _no_such_attempt,
    _climbing,
    _of_another_pod,
    _wrong_sha,
    _wrong_table_sha,
    _wrong_size,
    _missing_table,
    _missing_findings,
    _new_version,
    _too_large,
    _formula_in_the_table,
    _findings(lambda found: found["listed"][0].update(row=found["rows"] + 1), "row_beyond_the_file"),
    _findings(lambda found: found.update(rows=found["rows"] + 1), "more_rows_than_the_file"),
    _findings(lambda found: found.update(sha256="0" * 64), "another_file"),
    _findings(lambda found: found.update(scan_id="scan-other"), "findings_of_another_scan"),
    _findings(lambda found: found["listed"][0].update(score=float("nan")), "nan"),
    _findings(lambda found: found["listed"][0].update(score=2.0), "score_above_one"),
    _findings(lambda found: found["listed"].append(dict(found["listed"][0])), "row_twice"),
    _findings(lambda found: found["listed"].pop(), "fewer_listed_than_found"),
    _findings(lambda found: found["listed"][0].update(reason="\x1b[2J"), "terminal_escape"),
    _findings(lambda found: found["detectors"].clear(), "uncounted_detector"),
]


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_whatever_is_changed_the_scan_fails_and_nothing_is_shown(
    world: Any, planted: Any, tamper: Tamper
) -> None:
    scan = world.create_scan(file=world.upload(planted.content))["id"]
    world.settle()
    world.run_all()
    store = world.context.store
    key = layout.result_key(scan)
    result = json.loads(store.get(key))
    tamper(store, scan, result)
    store.put(key, json.dumps(result).encode())
    world.settle()
    done = world.scan(scan)
    assert (done["status"], done["error"]["code"]) == ("failed", "bad_result"), done
    assert (done["counts"], done["result_files"]) == (None, [])
    assert world.api.get("/v1/files?purpose=fine-tune-results").json()["data"] == []


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b" " * ((16 << 20) + 1), b"[]"])
def test_a_result_that_is_none_fails_the_scan(world: Any, garbage: bytes) -> None:
    scan = world.create_scan()["id"]
    world.settle()
    world.context.store.put(layout.result_key(scan), garbage)
    world.launcher.exit(layout.job_name(scan, 1), 0)
    world.settle()
    assert world.scan(scan)["error"]["code"] == "bad_result"


def test_findings_that_are_damaged_later_are_not_shown(world: Any, planted: Any) -> None:
    scan = world.finish_scan(world.create_scan(file=world.upload(planted.content))["id"])["id"]
    result = json.loads(world.context.store.get(layout.result_key(scan)))
    world.context.store.put(result["findings"]["key"], b"{}")
    answer = world.api.get(f"/v1/scans/{scan}/rows")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "findings_damaged")
