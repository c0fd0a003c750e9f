"""A result is hashed to its last byte before anything of it is believed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.contract import layout
from deploy.contract.document import sha256_hex

Tamper = Callable[[Any, str, dict[str, Any]], None]


def _foreign_job(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["job_id"] = "ftjob-other"


def _other_spec(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["spec_sha256"] = "0" * 64


def _no_such_attempt(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["attempt"] = 9


def _outside(store: Any, _job: str, result: dict[str, Any]) -> None:
    result["models"]["hardened"]["uri"] = f"{store.uri}/base_models/tiny/"


def _climbing(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["report"]["key"] = "jobs/../files/secret"


def _foreign_base(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["models"]["base"]["uri"] = result["models"]["control"]["uri"]


def _missing_arm(_store: Any, _job: str, result: dict[str, Any]) -> None:
    del result["models"]["control"]


def _wrong_size(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["models"]["hardened"]["files"][0]["size_bytes"] += 1


def _missing_file(store: Any, job: str, result: dict[str, Any]) -> None:
    prefix = layout.model_prefix(job, 1, result["pod"], "control")
    store.delete(f"{prefix}model.safetensors")


def _extra_file(store: Any, job: str, result: dict[str, Any]) -> None:
    store.put(f"{layout.model_prefix(job, 1, result['pod'], 'hardened')}modeling.py", b"import os")


def _no_date(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["finished_at"] = 1e18


def _flipped_bit(store: Any, job: str, result: dict[str, Any]) -> None:
    key = f"{layout.model_prefix(job, 1, result['pod'], 'hardened')}model.safetensors"
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.put(key, bytes(data))


def _other_metrics(store: Any, job: str, result: dict[str, Any]) -> None:
    store.put(layout.metrics_key(job, 1, result["pod"]), b"")


def _new_version(_store: Any, _job: str, result: dict[str, Any]) -> None:
    result["version"] = 2


def _impossible_report(store: Any, job: str, result: dict[str, Any]) -> None:
    key = layout.report_key(job, 1, result["pod"])
    data = store.get(key).replace(b'"parses": 99', b'"parses": 101')
    store.put(key, data)
    result["report"] |= {"size_bytes": len(data), "sha256": sha256_hex(data)}


TAMPERS: list[Tamper] = [
    _foreign_job,
    _other_spec,
    _no_such_attempt,
    _outside,
    _climbing,
    _foreign_base,
    _missing_arm,
    _wrong_size,
    _missing_file,
    _extra_file,
    _flipped_bit,
    _no_date,
    _other_metrics,
    _new_version,
    _impossible_report,
]


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_f11_whatever_is_changed_the_job_fails_and_nothing_is_served(world: Any, tamper: Tamper) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    world.run_all()
    store = world.context.store
    key = layout.result_key(job)
    result = json.loads(store.get(key))
    tamper(store, job, result)
    store.put(key, json.dumps(result).encode())
    world.settle()
    done = world.job(job)
    assert (done["status"], done["error"]["code"]) == ("failed", "bad_result"), done
    assert done["fine_tuned_model"] is None
    assert {model["id"] for model in world.api.get("/v1/models").json()["data"]} == {"tiny"}
    assert world.api.get(f"/v1/reports/{job}").status_code == 404


def test_a_result_that_is_not_json_fails_the_job(world: Any) -> None:
    job = world.create()["id"]
    world.settle(until="running", job_id=job)
    world.context.store.put(layout.result_key(job), b"\x00" * 100)
    world.launcher.exit(layout.job_name(job, 1), 0)
    world.settle()
    assert world.job(job)["error"]["code"] == "bad_result"
