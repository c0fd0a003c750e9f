"""The base models API, one process."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deploy.contract.intake_child import IntakeChildFailed
from service.base_models.checking import upload_key
from service.base_models.schemas import BaseModelManifest
from service.base_models.service import resume_checks
from service.context import Context
from service.tables import BaseModelRow
from service.tables import EndpointRow

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
Files = dict[str, bytes]


def declare(files: Files) -> list[dict[str, Any]]:
    return [
        {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]


def create(api: TestClient, source: dict[str, Any], **more: Any) -> Any:
    return api.post("/v1/base_models", json={"source": source, **more})


def put_all(api: TestClient, base_id: str, files: Files) -> None:
    for name, content in files.items():
        response = api.put(f"/v1/base_models/{base_id}/files/{name}", content=content)
        assert response.status_code == 200, response.text


def uploaded(api: TestClient, files: Files, base_id: str = "tiny") -> Any:
    assert create(api, {"type": "upload", "files": declare(files)}, id=base_id).status_code == 200
    put_all(api, base_id, files)
    return api.post(f"/v1/base_models/{base_id}/complete")


def write(directory: Path, files: Files) -> str:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory.as_uri()


def test_an_uploaded_model_becomes_ready(api: TestClient, context: Context, model_files: Files) -> None:
    made = create(api, {"type": "upload", "files": declare(model_files)}, id="tiny").json()
    assert (made["id"], made["object"], made["status"]) == ("tiny", "base_model", "pending")
    assert made["files"] == declare(model_files)
    put_all(api, "tiny", model_files)
    ready = api.post("/v1/base_models/tiny/complete").json()
    assert (ready["status"], ready["architecture"], ready["parameters"]) == ("ready", "decoder", 128)
    assert ready["uri"] == f"{context.store.uri}/base_models/tiny"
    assert api.get("/v1/base_models/tiny").json() == ready
    assert api.get("/v1/base_models").json()["data"] == [ready]
    manifest = BaseModelManifest.from_bytes(context.store.get("base_models/tiny/manifest.json"))
    assert [file.model_dump() for file in manifest.files] == ready["files"]
    assert ready["uploaded"] == [file for file in declare(model_files) if file["name"] != "model.safetensors"]
    assert {file["name"] for file in ready["files"]} == {*model_files, "tokenizer_config.json"}
    for file in manifest.files:
        data = context.store.get(f"base_models/tiny/{file.name}")
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)
    assert list((context.settings.home / "checking").iterdir()) == []


def test_completing_twice_answers_alike(api: TestClient, model_files: Files) -> None:
    first = uploaded(api, model_files)
    assert api.post("/v1/base_models/tiny/complete").json() == first.json()


def test_an_id_is_made_when_none_is_given(api: TestClient, model_files: Files) -> None:
    made = create(api, {"type": "upload", "files": declare(model_files)}).json()
    assert made["id"].startswith("base-")


def test_an_id_is_taken_once(api: TestClient, model_files: Files, error_of: ErrorOf) -> None:
    source = {"type": "upload", "files": declare(model_files)}
    create(api, source, id="tiny")
    assert error_of(create(api, source, id="tiny"), 409)["code"] == "id_taken"


@pytest.mark.parametrize("bad", ["a/b", "", ".a", "a:b", "a b", "x" * 97, "..", 7])
def test_a_bad_id_is_named(api: TestClient, model_files: Files, error_of: ErrorOf, bad: Any) -> None:
    response = create(api, {"type": "upload", "files": declare(model_files)}, id=bad)
    assert error_of(response, 400)["param"] == "id"


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model.pt", "modeling_x.py", "weights.pkl", "m.bin.safetensors", "a.zip", "x.gguf"],
)
def test_b1_pickle_code_and_archives_are_refused_by_name(
    api: TestClient, context: Context, error_of: ErrorOf, name: str
) -> None:
    response = create(api, {"type": "upload", "files": declare({"config.json": b"{}", name: b"x"})})
    error = error_of(response, 400)
    assert (error["code"], error["param"]) == ("file_not_allowed", "source.files.1.name")
    assert api.get("/v1/base_models").json()["data"] == []


@pytest.mark.parametrize("name", ["../config.json", "/config.json", "a/config.json", "", "x" * 200, "a\0b"])
def test_b2_a_name_that_is_a_path_is_refused(api: TestClient, error_of: ErrorOf, name: str) -> None:
    response = create(api, {"type": "upload", "files": declare({name: b"x"})})
    assert error_of(response, 400)["param"] == "source.files.0.name"


def test_b2_names_that_differ_by_case_only_are_refused(api: TestClient, error_of: ErrorOf) -> None:
    files = declare({"a.safetensors": b"x", "A.safetensors": b"x"})
    assert error_of(create(api, {"type": "upload", "files": files}), 400)["param"] == "source"


def test_b15_a_declared_size_over_the_limit_is_refused(api: TestClient, error_of: ErrorOf) -> None:
    files = [{"name": "model.safetensors", "size_bytes": 9 << 30, "sha256": "0" * 64}]
    response = create(api, {"type": "upload", "files": files})
    assert error_of(response, 413)["param"] == "source.files.0.size_bytes"


@pytest.mark.parametrize(("change", "code"), [(b"", "size_mismatch"), (b"}}", "size_mismatch")])
def test_b15_a_file_of_another_size_is_refused(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf, change: bytes, code: str
) -> None:
    create(api, {"type": "upload", "files": declare(model_files)}, id="tiny")
    content = model_files["config.json"] + change if change else model_files["config.json"][:-1]
    error = error_of(api.put("/v1/base_models/tiny/files/config.json", content=content), 400)
    assert (error["code"], error["param"]) == (code, "config.json")
    assert list(context.store.list("")) == []


def test_b13_a_file_of_another_hash_is_refused(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf
) -> None:
    create(api, {"type": "upload", "files": declare(model_files)}, id="tiny")
    content = model_files["config.json"].replace(b"llama", b"lLama")
    response = api.put("/v1/base_models/tiny/files/config.json", content=content)
    assert error_of(response, 400)["code"] == "sha256_mismatch"
    assert list(context.store.list("")) == []


def test_a_file_that_was_not_declared_is_refused(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf
) -> None:
    create(api, {"type": "upload", "files": declare(model_files)}, id="tiny")
    response = api.put("/v1/base_models/tiny/files/evil.py", content=b"x")
    assert error_of(response, 404)["code"] == "file_not_declared"
    assert list(context.store.list("")) == []


def test_completing_names_a_file_that_is_missing(
    api: TestClient, model_files: Files, error_of: ErrorOf
) -> None:
    create(api, {"type": "upload", "files": declare(model_files)}, id="tiny")
    put_all(api, "tiny", {"config.json": model_files["config.json"]})
    error = error_of(api.post("/v1/base_models/tiny/complete"), 400)
    assert (error["code"], error["param"]) == ("file_missing", "model.safetensors")
    assert api.get("/v1/base_models/tiny").json()["status"] == "pending"


def test_a_complete_model_takes_no_files(api: TestClient, model_files: Files, error_of: ErrorOf) -> None:
    uploaded(api, model_files)
    response = api.put("/v1/base_models/tiny/files/config.json", content=model_files["config.json"])
    assert error_of(response, 409)["code"] == "base_model_complete"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.safetensors", b"\x80\x04\x95 a pickle in disguise", "invalid_safetensors"),
        ("model.safetensors", b"", "invalid_safetensors"),
        ("config.json", b"{", "invalid_json"),
        (
            "config.json",
            b'{"model_type": "llama", "vocab_size": 16, "hidden_size": 8, "hidden_act": {"AutoModel": "x.Y"}}',
            "invalid_config",
        ),
        (
            "config.json",
            b'{"model_type": "roberta", "vocab_size": 16, "hidden_size": 8}',
            "unsupported_architecture",
        ),
        ("tokenizer.json", b'{"model": {"type": "Evil"}}', "invalid_tokenizer"),
    ],
)
def test_a_bad_model_fails_with_its_reason(
    api: TestClient, context: Context, model_files: Files, name: str, content: bytes, code: str
) -> None:
    answer = uploaded(api, {**model_files, name: content}).json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", code)
    assert answer["error"]["param"] == name
    assert answer["uri"] is None
    assert list(context.store.list("")) == []


def test_b7_what_was_not_taken_is_shown_and_never_stored_for_a_loader(
    api: TestClient, context: Context, model_files: Files
) -> None:
    config = {**json.loads(model_files["config.json"]), "auto_map": {"AutoModel": "x.Y"}}
    files = {
        **model_files,
        "config.json": json.dumps(config).encode(),
        "chat_template.jinja": b"{{ cycler.__init__ }}",
        "README.md": b"# ours",
    }
    ready = uploaded(api, files).json()
    assert ready["dropped"] == ["config.json: auto_map", "chat_template.jinja"]
    assert "dropped" not in ready["source"]
    stored = context.store.get("base_models/tiny/config.json")
    assert b"auto_map" not in stored
    assert hashlib.sha256(files["config.json"]).hexdigest() in {file["sha256"] for file in ready["uploaded"]}
    assert "chat_template.jinja" not in {file["name"] for file in ready["files"]}
    assert context.store.info("base_models/tiny/chat_template.jinja") is None
    assert context.store.get("base_models/tiny/README.md") == b"# ours"
    assert api.get("/v1/base_models/tiny").json() == ready


def test_b13_a_late_upload_does_not_replace_what_was_written(
    api: TestClient, context: Context, model_files: Files
) -> None:
    """A file that was being sent while the model was completed lands beside what loaders get."""
    ready = uploaded(api, model_files).json()
    ours = context.store.get("base_models/tiny/config.json")
    key = upload_key("base_models/tiny/", "config.json")
    context.store.put(key, model_files["config.json"])
    assert context.store.get("base_models/tiny/config.json") == ours != model_files["config.json"]
    assert {
        "name": "config.json",
        "size_bytes": len(ours),
        "sha256": hashlib.sha256(ours).hexdigest(),
    } in ready["files"]


def test_b12_weights_that_nobody_trained_fail(api: TestClient, model_files: Files) -> None:
    broken = model_files["model.safetensors"][:-4] + b"\x00\x00\xc0\x7f"
    answer = uploaded(api, {**model_files, "model.safetensors": broken}).json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "invalid_weights")
    assert "tensor weight holds NaN" in answer["error"]["message"]


def test_a_truncated_safetensors_file_fails(api: TestClient, model_files: Files) -> None:
    short = model_files["model.safetensors"][:-1]
    answer = uploaded(api, {**model_files, "model.safetensors": short}).json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "invalid_safetensors")


def test_b13_bytes_that_changed_in_the_store_are_not_taken(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf
) -> None:
    create(api, {"type": "upload", "files": declare(model_files)}, id="tiny")
    put_all(api, "tiny", model_files)
    other = bytearray(model_files["model.safetensors"])
    other[-1] = 1
    context.store.put("base_models/tiny/model.safetensors", bytes(other))
    assert error_of(api.post("/v1/base_models/tiny/complete"), 503)["code"] == "check_failed"
    assert api.get("/v1/base_models/tiny").json()["status"] == "pending"


def test_b16_a_check_that_cannot_be_made_leaves_the_upload_pending(
    api: TestClient, model_files: Files, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path, *, rewritten: Path) -> None:
        raise IntakeChildFailed("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr("service.base_models.checking.check_in_child", broken)
        assert error_of(uploaded(api, model_files), 503)["code"] == "check_failed"
    assert api.post("/v1/base_models/tiny/complete").json()["status"] == "ready"


def test_a_local_model_is_taken_where_it_lies(
    api: TestClient, context: Context, model_files: Files, tmp_path: Path
) -> None:
    uri = write(tmp_path / "local model", model_files)
    made = create(api, {"type": "uri", "uri": f"{uri}/"}, id="local").json()
    assert (made["status"], made["uri"], made["error"]) == ("ready", uri, None)
    assert made["files"] == sorted(declare(model_files), key=lambda file: str(file["name"]))
    api.delete("/v1/base_models/local")
    assert (tmp_path / "local model" / "config.json").exists()
    assert list(context.store.list("")) == []


def test_a_local_model_that_is_not_there_fails(api: TestClient, tmp_path: Path) -> None:
    made = create(api, {"type": "uri", "uri": (tmp_path / "none").as_uri()}).json()
    assert made["status"] == "failed"


def test_a_local_model_with_pickle_beside_it_fails(
    api: TestClient, model_files: Files, tmp_path: Path
) -> None:
    uri = write(tmp_path / "local", {**model_files, "pytorch_model.bin": b"\x80\x04"})
    made = create(api, {"type": "uri", "uri": uri}).json()
    assert (made["status"], made["error"]["code"]) == ("failed", "file_not_allowed")


def test_local_models_may_be_switched_off(
    api: TestClient, context: Context, model_files: Files, tmp_path: Path, error_of: ErrorOf
) -> None:
    object.__setattr__(context.settings, "local_models", False)
    uri = write(tmp_path / "local", model_files)
    assert error_of(create(api, {"type": "uri", "uri": uri}), 400)["param"] == "source.uri"


@pytest.mark.parametrize(
    "uri",
    ["http://169.254.169.254/", "file://host/x", "s3://", "file:///a?b", "s3://B_/x", "", "file:///a b"],
)
def test_a_bad_uri_is_named(api: TestClient, error_of: ErrorOf, uri: str) -> None:
    assert error_of(create(api, {"type": "uri", "uri": uri}), 400)["param"] == "source.uri"


def test_a_hub_model_is_left_to_its_job(api: TestClient) -> None:
    source = {"type": "hub", "repo": "bigcode/tiny_starcoder_py", "revision": "a" * 40}
    made = create(api, source, id="hub").json()
    assert (made["status"], made["source"], made["files"]) == ("ready", source, [])


@pytest.mark.parametrize("revision", ["main", "a" * 39, "A" * 40, ""])
def test_b14_a_hub_model_is_pinned(api: TestClient, error_of: ErrorOf, revision: str) -> None:
    source = {"type": "hub", "repo": "a/b", "revision": revision}
    assert error_of(create(api, source), 400)["param"] == "source.revision"


@pytest.mark.parametrize("repo", ["b", "a/b/c", "../b", "https://x/y", "a/b@main", "user:pw@a/b"])
def test_b14_a_hub_model_has_an_owner_and_a_name(api: TestClient, error_of: ErrorOf, repo: str) -> None:
    source = {"type": "hub", "repo": repo, "revision": "a" * 40}
    assert error_of(create(api, source), 400)["param"] == "source.repo"


def test_only_uploads_are_completed(api: TestClient, error_of: ErrorOf) -> None:
    create(api, {"type": "hub", "repo": "a/b", "revision": "a" * 40}, id="hub")
    assert error_of(api.post("/v1/base_models/hub/complete"), 400)["code"] == "not_an_upload"


def test_a_deleted_model_leaves_nothing_and_its_id_is_free(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf
) -> None:
    uploaded(api, model_files)
    assert api.delete("/v1/base_models/tiny").json()["deleted"] is True
    assert list(context.store.list("")) == []
    error_of(api.get("/v1/base_models/tiny"), 404)
    assert uploaded(api, model_files).json()["status"] == "ready"


def test_a_served_model_stays(
    api: TestClient, context: Context, model_files: Files, error_of: ErrorOf
) -> None:
    uploaded(api, model_files)
    with context.database.writing() as session:
        session.add(
            EndpointRow(id="ep-1", model_id="tiny", active_model_id="tiny", status="ready", created_at=0)
        )
    assert error_of(api.delete("/v1/base_models/tiny"), 409)["code"] == "in_use"


@pytest.mark.parametrize("method", ["get", "delete"])
def test_an_unknown_model_is_not_found(api: TestClient, error_of: ErrorOf, method: str) -> None:
    assert error_of(getattr(api, method)("/v1/base_models/none"), 404)["code"] == "model_not_found"


def test_a_check_that_was_cut_is_taken_up_again(
    api: TestClient, context: Context, model_files: Files, tmp_path: Path
) -> None:
    uri = write(tmp_path / "local", model_files)
    with context.database.writing() as session:
        source = {"type": "uri", "uri": uri}
        session.add(
            BaseModelRow(id="cut", status="pending", source=source, files=[], created_at=0, version=0)
        )
    resume_checks(context)
    context.checks.shutdown(wait=True)
    assert api.get("/v1/base_models/cut").json()["status"] == "ready"


def test_pages_cover_all_models_once(api: TestClient) -> None:
    for number in range(5):
        create(api, {"type": "hub", "repo": "a/b", "revision": "a" * 40}, id=f"m{number}")
    seen: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = api.get("/v1/base_models", params={"limit": 2, **after}).json()
        seen += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert seen == ["m4", "m3", "m2", "m1", "m0"]


def test_an_unknown_field_is_named_by_its_path(api: TestClient, error_of: ErrorOf) -> None:
    source = {"type": "hub", "repo": "a/b", "revision": "a" * 40, "trust_remote_code": True}
    error = error_of(create(api, source), 400)
    assert (error["param"], error["code"]) == ("source.trust_remote_code", "invalid_request")


def test_an_unknown_source_is_named(api: TestClient, error_of: ErrorOf) -> None:
    assert error_of(create(api, {"type": "torrent"}), 400)["param"] == "source.type"


def test_json_is_read_once(api: TestClient, error_of: ErrorOf) -> None:
    body = json.dumps({"source": {"type": "hub", "repo": "a/b", "revision": "a" * 40}})
    doubled = body[:-1] + "," + body[1:]
    response = api.post("/v1/base_models", content=doubled, headers={"content-type": "application/json"})
    assert error_of(response, 400)["code"] == "invalid_json"
