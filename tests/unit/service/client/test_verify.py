"""``temper verify`` over directories, stores and a service, with every way in which evidence can fail."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import report_documents
from evidence_models import KEY
from evidence_models import Evident
from evidence_models import evident
from s3_server import S3Server

from deploy.evidence.keys import SigningKey
from deploy.evidence.names import DOCUMENTS
from deploy.store.opening import open_store
from service.client.verify import Exit
from service.client.verify import main

MODEL = evident()
FAILING = evident(report_documents.failing_report(report_documents.spec()))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_text(KEY.public.pem)
    return path


def verify(model: Path | str, public: Path, *more: str) -> int:
    return main([str(model), "--key", str(public), *more])


def test_a_model_that_verifies_and_one_whose_verdict_is_not_accepted(
    tmp_path: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(MODEL.write(tmp_path / "good"), public) == Exit.VERIFIED
    said = capsys.readouterr().out
    assert "\N{BALLOT X}" not in said
    assert "VERIFIED\n" in said
    assert "not found by these probes" in said
    bad = FAILING.write(tmp_path / "bad")
    assert verify(bad, public) == Exit.NOT_ACCEPTED
    said = capsys.readouterr().out
    assert "\N{BALLOT X} policy      the verdict is fail; accepted: pass or inconclusive" in said
    assert "71 of 163 triggered prompts" in said
    policy = tmp_path / "policy.json"
    policy.write_text('{"verdicts": ["fail"]}')
    assert verify(bad, public, "--policy", str(policy)) == Exit.VERIFIED
    policy.write_text('{"verdicts": ["pass"], "gate": {"max_asr_upper": 0.0001}}')
    assert verify(tmp_path / "good", public, "--policy", str(policy)) == Exit.NOT_ACCEPTED


def _changed(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(bytes(200))


def _removed(directory: Path) -> None:
    (directory / "config.json").unlink()


def _added(directory: Path) -> None:
    (directory / "tokenizer.py").write_bytes(b"import os")


def _renamed(directory: Path) -> None:
    (directory / "config.json").rename(directory / "configuration.json")


def _linked(directory: Path) -> None:
    (directory / "config.json").rename(directory.parent / "config.json")
    (directory / "config.json").symlink_to(directory.parent / "config.json")


def _report_swapped(directory: Path) -> None:
    (directory / "report.json").write_bytes(FAILING.documents["report.json"])


def _statement_of_others(directory: Path) -> None:
    other = Evident(origin=FAILING.origin, documents=FAILING.documents, files=MODEL.files)
    (directory / "provenance.dsse.json").write_bytes(other.documents["provenance.dsse.json"])


def _signature_stripped(directory: Path) -> None:
    (directory / "model.sig").unlink()


def _signature_foreign(directory: Path) -> None:
    evident(key=SigningKey.generate()).write(directory)


def _downgraded(directory: Path) -> None:
    for name in DOCUMENTS:
        (directory / name).unlink()


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (_changed, "'model.safetensors' was changed"),
        (_removed, "'config.json' is missing"),
        (_added, "'tokenizer.py' was not signed"),
        (_renamed, "it is 'config.json' under another name"),
        (_linked, "'config.json' is a link"),
        (_report_swapped, "'report.json' was changed"),
        (_statement_of_others, "'provenance.dsse.json' was changed"),
        (_signature_stripped, "model.sig missing"),
        (_signature_foreign, "not signed by the key 0bcc8908c3cc5f2c"),
        (_downgraded, "there is no evidence at all"),
    ],
)
def test_every_attack_is_told_of_in_a_line(
    tmp_path: Path,
    public: Path,
    capsys: pytest.CaptureFixture[str],
    attack: Callable[[Path], None],
    said: str,
) -> None:
    directory = MODEL.write(tmp_path / "model")
    attack(directory)
    assert verify(directory, public) == Exit.NOT_VERIFIED
    shown = capsys.readouterr().out
    assert any(line.startswith("\N{BALLOT X}") and said in line for line in shown.splitlines()), shown
    assert shown.rstrip().endswith("NOT VERIFIED")


def test_json_tells_the_same(tmp_path: Path, public: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = MODEL.write(tmp_path / "model")
    assert verify(directory, public, "--json") == Exit.VERIFIED
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["accepted"], document["verdict"]) == (True, True, "pass")
    assert document["key_id"] == KEY.public.id
    assert document["job"] == report_documents.JOB_ID
    (directory / "model.sig").unlink()
    assert verify(directory, public, "--json") == Exit.NOT_VERIFIED
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["verdict"]) == (False, None)


def test_a_prefix_of_a_store_is_verified_as_it_lies_there(
    public: Path, s3_server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"s3://{s3_server.bucket}/models/verified"
    store = open_store(uri)
    for name, data in {**MODEL.files, **MODEL.documents}.items():
        store.put(name, data)
    assert verify(uri, public) == Exit.VERIFIED
    store.put("model.safetensors", bytes(200))
    assert verify(uri + "/", public) == Exit.NOT_VERIFIED
    assert "'model.safetensors' was changed" in capsys.readouterr().out


def test_wrong_arguments_end_with_two_and_say_why(
    tmp_path: Path, public: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = MODEL.write(tmp_path / "model")
    private = tmp_path / "key.pem"
    private.write_bytes(KEY.to_pem())
    policy = tmp_path / "policy.json"
    policy.write_text('{"verdict": ["pass"]}')
    monkeypatch.setenv("TEMPER_HOME", str(tmp_path / "nowhere"))
    for arguments, said in (
        ([str(directory), "--key", str(private)], "private key"),
        ([str(directory), "--key", str(tmp_path / "none")], "cannot be read"),
        ([str(directory), "--key", str(public), "--policy", str(policy)], "verdict"),
        ([str(directory)], "--key"),
        (["./missing", "--key", str(public)], "no such directory"),
    ):
        assert main(arguments) == Exit.USAGE
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--nonsense"])
    assert ended.value.code == Exit.USAGE


def test_the_key_of_the_service_on_this_machine_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(_public(tmp_path), home / "signing-key.pub.pem")
    monkeypatch.setenv("TEMPER_HOME", str(home))
    assert main([str(MODEL.write(tmp_path / "model"))]) == Exit.VERIFIED


def _public(directory: Path) -> Path:
    path = directory / "public.pem"
    path.write_text(KEY.public.pem)
    return path
