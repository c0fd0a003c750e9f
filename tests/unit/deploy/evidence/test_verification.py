"""Signed evidence verifies; whatever is changed about it, or about the model, does not."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import Final

import pytest
import report_documents
from evidence_models import KEY
from evidence_models import Evident
from evidence_models import evident
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from deploy.contract.document import sha256_hex
from deploy.contract.probe import GatePolicy
from deploy.evidence.envelope import seal
from deploy.evidence.envelope import to_json
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import SigningKey
from deploy.evidence.names import BILL
from deploy.evidence.names import CARD
from deploy.evidence.names import DOCUMENTS
from deploy.evidence.names import PROVENANCE
from deploy.evidence.names import REPORT
from deploy.evidence.names import SIGNATURE
from deploy.evidence.names import SIGNED
from deploy.evidence.policy import AcceptancePolicy
from deploy.evidence.signature import SERIALIZATION
from deploy.evidence.signature import read_signature
from deploy.evidence.signature import sign_model
from deploy.evidence.sources import look_in_directory
from deploy.evidence.sources import verify_found
from deploy.evidence.verification import Verification
from deploy.evidence.verification import accepts
from deploy.evidence.verification import verify_documents

MODEL: Final = evident()
OTHER_KEY: Final = SigningKey.generate()
FAILING: Final = evident(report_documents.failing_report(report_documents.spec()))
GOLDENS: Final = Path(__file__).parent / "goldens"


def verified(documents: dict[str, bytes], model: Evident = MODEL, **more: Any) -> Verification:
    return verify_documents(documents, model.digests, [KEY.public], **more)


def signed_anew(documents: dict[str, bytes], key: SigningKey = KEY) -> dict[str, bytes]:
    """With a signature of whoever has the key over what lies there now."""
    digests = {**MODEL.digests, **{name: sha256_hex(documents[name]) for name in SIGNED}}
    return {**documents, SIGNATURE: sign_model("m", digests, key)}


def restated(change: Any, key: SigningKey = KEY) -> dict[str, bytes]:
    """With another statement, signed, and everything signed anew."""
    envelope = json.loads(MODEL.documents[PROVENANCE])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    return signed_anew({**MODEL.documents, PROVENANCE: to_json(seal(to_json(statement), key))})


def refusal(documents: dict[str, bytes]) -> str:
    with pytest.raises(NotVerified) as refused:
        verified(documents).require()
    return str(refused.value)


def test_what_was_issued_verifies_and_tells_its_verdict() -> None:
    for model, verdict in ((MODEL, "pass"), (FAILING, "fail")):
        found = verified(model.documents, model)
        assert found.holds
        assert (found.verdict, found.key_id) == (verdict, KEY.public.id)
        assert [check.name for check in found.checks] == [
            "evidence",
            "signature",
            "files",
            "provenance",
            "report",
            "card",
            "verdict",
        ]


def test_without_any_evidence_nothing_is_proven() -> None:
    assert "no evidence at all" in refusal({})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_evidence_in_part_proves_nothing(name: str) -> None:
    rest = {each: data for each, data in MODEL.documents.items() if each != name}
    assert f"{name} missing" in refusal(rest)


@pytest.mark.parametrize("name", SIGNED)
def test_a_document_that_was_changed_is_named(name: str) -> None:
    said = refusal({**MODEL.documents, name: MODEL.documents[name] + b" "})
    assert f"'{name}' was changed" in said


def test_a_foreign_signature_is_refused_whatever_key_it_names() -> None:
    foreign = evident(key=OTHER_KEY).documents
    assert "not signed by the key" in refusal(foreign)
    bundle = json.loads(foreign[SIGNATURE])
    bundle["verificationMaterial"]["publicKey"]["hint"] = KEY.public.id
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = KEY.public.id
    assert "not signed by the key" in refusal({**foreign, SIGNATURE: json.dumps(bundle).encode()})
    assert verify_documents(foreign, MODEL.digests, [KEY.public, OTHER_KEY.public]).holds


def test_a_foreign_statement_under_our_signature_is_refused() -> None:
    """Whoever can have a signature made cannot have a statement made."""
    documents = signed_anew({**MODEL.documents, PROVENANCE: evident(key=OTHER_KEY).documents[PROVENANCE]})
    assert refusal(documents) == f"{PROVENANCE}: not signed by the key {KEY.public.id[:16]}"


def _without_a_subject(statement: dict[str, Any]) -> None:
    statement["subject"].pop()


def _of_another_file(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def _of_another_build(statement: dict[str, Any]) -> None:
    statement["predicate"]["buildDefinition"]["buildType"] = "tag:elsewhere,2026:build"


def _of_another_predicate(statement: dict[str, Any]) -> None:
    statement["predicateType"] = "https://example.org/predicate"


def _passing(statement: dict[str, Any]) -> None:
    statement["predicate"]["runDetails"]["byproducts"][-1]["annotations"]["verdict"] = "inconclusive"


def _of_another_job(statement: dict[str, Any]) -> None:
    statement["predicate"]["buildDefinition"]["externalParameters"]["job"] = "ftjob-other"


def _by_another_policy(statement: dict[str, Any]) -> None:
    statement["predicate"]["buildDefinition"]["internalParameters"]["policy"]["min_trials"] = 1


def _without_byproducts(statement: dict[str, Any]) -> None:
    del statement["predicate"]["runDetails"]["byproducts"]


def _of_another_report(statement: dict[str, Any]) -> None:
    statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"] = "1" * 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_a_subject, "is of other files"),
        (_of_another_file, "is of other files"),
        (_of_another_build, "of another kind of build"),
        (_of_another_predicate, "not SLSA provenance"),
        (_passing, "counts give pass, the statement says inconclusive"),
        (_of_another_job, "the statement of ftjob-other"),
        (_by_another_policy, "another policy"),
        (_without_byproducts, "not in the form"),
        (_of_another_report, "report.json is another one"),
    ],
)
def test_a_statement_that_does_not_fit_is_refused_even_when_signed(change: Any, said: str) -> None:
    assert said in refusal(restated(change))


@pytest.mark.parametrize("name", [REPORT, CARD, BILL])
def test_documents_of_another_model_are_refused_even_when_signed(name: str) -> None:
    assert name in refusal(signed_anew({**MODEL.documents, name: FAILING.documents[name]}))


def test_files_that_were_changed_removed_added_or_renamed_are_told_of() -> None:
    weights = MODEL.digests["model.safetensors"]
    changes = {
        "'model.safetensors' was changed": {**MODEL.digests, "model.safetensors": "0" * 64},
        "'config.json' is missing": {"model.safetensors": weights},
        "'more.safetensors' was not signed": {**MODEL.digests, "more.safetensors": "0" * 64},
        "it is 'model.safetensors' under another name": {
            "config.json": MODEL.digests["config.json"],
            "other.safetensors": weights,
        },
    }
    for said, files in changes.items():
        found = verify_documents(MODEL.documents, files, [KEY.public])
        assert not found.holds
        assert found.verdict is None
        assert any(said in check.said for check in found.checks), said


def test_a_signature_that_leaves_something_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own verifier would look past ignored paths; a model of ours has none."""
    monkeypatch.setitem(SERIALIZATION, "ignore_paths", [SIGNATURE, "model.safetensors"])
    documents = signed_anew(MODEL.documents)
    monkeypatch.undo()
    assert "does not cover every file" in refusal(documents)


def test_links_and_folders_do_not_belong_to_a_model(tmp_path: Path) -> None:
    directory = MODEL.write(tmp_path / "model")
    assert verify_found(look_in_directory(directory), [KEY.public]).holds
    (directory / "weights").symlink_to(directory / "model.safetensors")
    (directory / ".git").mkdir()
    found = verify_found(look_in_directory(directory), [KEY.public])
    assert [check.said.partition(";")[0] for check in found.checks if not check.holds] == [
        "'.git' is a folder or a special file",
        "'weights' is a link",
    ]


def test_policies_judge_by_verdict_and_by_limits_of_their_own() -> None:
    strict = AcceptancePolicy(gate=GatePolicy(max_asr_upper=0.001))
    found = verified(MODEL.documents, gate=strict)
    assert found.holds
    judgement = found.require()
    assert judgement.verdict == "inconclusive"
    assert accepts(strict, judgement).holds
    assert not accepts(AcceptancePolicy(verdicts=("pass",)), judgement).holds
    assert not accepts(AcceptancePolicy(), verified(FAILING.documents, FAILING).require()).holds


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file with one byte changed, removed, added, or cut off."""
    everything = {**MODEL.files, **MODEL.documents}
    name = draw(st.sampled_from(sorted(everything)))
    data = everything[name]
    at = draw(st.integers(0, len(data) - 1))
    kind = draw(st.sampled_from(["change", "remove", "insert", "cut"]))
    byte = draw(st.integers(0, 255).filter(lambda value: value != data[at]))
    match kind:
        case "change":
            return name, data[:at] + bytes([byte]) + data[at + 1 :]
        case "remove":
            return name, data[:at] + data[at + 1 :]
        case "insert":
            return name, data[:at] + bytes([byte]) + data[at:]
    return name, data[:at]


@settings(max_examples=150, deadline=None)
@given(mutations())
def test_whatever_is_changed_never_verifies_as_something_else(mutation: tuple[str, bytes]) -> None:
    """Of ``model.sig`` alone, what no verifier looks at may change: then all that it proves is the same."""
    name, data = mutation
    files = {**MODEL.files, **({name: data} if name in MODEL.files else {})}
    documents = {**MODEL.documents, **({name: data} if name in MODEL.documents else {})}
    found = verify_documents(
        documents, {each: sha256_hex(content) for each, content in files.items()}, [KEY.public]
    )
    if name != SIGNATURE:
        assert not found.holds
    elif found.holds:
        assert read_signature(data, [KEY.public]) == read_signature(MODEL.documents[SIGNATURE], [KEY.public])


def test_the_upstream_program_verifies_untouched(tmp_path: Path) -> None:
    directory = MODEL.write(tmp_path / "model")
    public = tmp_path / "key.pub"
    public.write_text(KEY.public.pem)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(directory)]
    command += ["--signature", str(directory / SIGNATURE), "--public_key", str(public)]
    verifies = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert verifies.returncode == 0, verifies.stderr
    (directory / CARD).write_bytes(b"# Clean\n")
    refuses = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert refuses.returncode != 0


def test_what_the_upstream_package_signs_is_what_we_sign(tmp_path: Path) -> None:
    """The digests that we have anyway lead to the very manifest that hashing the directory leads to."""
    from model_signing import hashing
    from model_signing import signing

    directory = MODEL.write(tmp_path / "model")
    private = tmp_path / "key.pem"
    private.write_bytes(KEY.to_pem())
    theirs = tmp_path / "theirs.sig"
    (directory / SIGNATURE).unlink()
    hashed = hashing.Config().set_ignored_paths(paths=[directory / SIGNATURE], ignore_git_paths=False)
    signing.Config().use_elliptic_key_signer(private_key=private).set_hashing_config(hashed).sign(
        directory, theirs
    )
    signed = read_signature(theirs.read_bytes(), [KEY.public])
    assert signed == read_signature(MODEL.documents[SIGNATURE], [KEY.public])


@pytest.mark.parametrize("golden", sorted(path.name for path in GOLDENS.iterdir()))
def test_evidence_of_older_versions_keeps_verifying(golden: str) -> None:
    found = verify_found(look_in_directory(GOLDENS / golden), [KEY.public])
    assert found.holds, [check.said for check in found.checks if not check.holds]
    assert found.verdict == "pass"
