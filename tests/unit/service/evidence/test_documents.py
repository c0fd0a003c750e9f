"""What evidence says, and that nothing in it is more than text."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_documents
import yaml
from evidence_models import KEY
from evidence_models import evident
from evidence_models import origin_of
from hostile_texts import HOSTILE
from jsonschema import Draft7Validator
from referencing import Registry
from referencing import Resource

from deploy.evidence.names import BILL
from deploy.evidence.names import CARD
from deploy.evidence.names import PROVENANCE
from service.evidence.bill import bill
from service.evidence.card import card
from service.evidence.issuing import documents
from service.evidence.markdown import text

SCHEMAS = Path(__file__).parents[3] / "fixtures" / "cyclonedx"


def schema() -> Draft7Validator:
    """Of CycloneDX 1.6, with what it refers to."""
    read = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    known = [
        (
            f"http://cyclonedx.org/schema/{name.replace('.schema', '.SNAPSHOT.schema')}",
            Resource.from_contents(each),
        )
        for name, each in read.items()
    ]
    return Draft7Validator(read["bom-1.6.schema.json"], registry=Registry().with_resources(known))


def statement() -> dict[str, Any]:
    envelope = json.loads(evident().documents[PROVENANCE])
    return dict(json.loads(base64.b64decode(envelope["payload"])))


@pytest.mark.parametrize("report", ["passing", "failing", "inconclusive"])
def test_the_bill_is_one_by_the_published_schema(report: str) -> None:
    made = getattr(report_documents, f"{report}_report")(report_documents.spec())
    document = json.loads(bill(origin_of(made)))
    faults = [f"{list(each.absolute_path)}: {each.message[:200]}" for each in schema().iter_errors(document)]
    assert not faults
    model = document["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert [each["name"] for each in model["components"]] == ["config.json", "model.safetensors"]
    rates = [each for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]]
    assert {"attack success rate", "BLEU"} <= {each["type"] for each in rates}


def test_the_schema_would_find_a_fault() -> None:
    document = json.loads(bill(origin_of()))
    document["metadata"]["component"]["type"] = "model"
    assert list(schema().iter_errors(document))


def test_the_statement_names_everything_that_went_in() -> None:
    origin = origin_of()
    predicate = statement()["predicate"]
    dependencies = {each["name"]: each for each in predicate["buildDefinition"]["resolvedDependencies"]}
    spec = origin.verified.spec
    assert dependencies["training_file"]["digest"]["sha256"] == spec.training_file.sha256
    assert dependencies["base_model/model.safetensors"]["digest"]["sha256"] == "3" * 64
    assert dependencies["image"]["digest"]["sha256"] == "ab" * 32
    assert dependencies["torch"]["uri"] == "pkg:pypi/torch@2.13.0"
    internal = predicate["buildDefinition"]["internalParameters"]
    assert internal["training"]["seed"] == spec.training.seed
    assert internal["policy"] == spec.policy.model_dump(mode="json")
    assert predicate["runDetails"]["metadata"]["invocationId"] == f"{spec.job_id}/attempts/1/p1"


def test_the_same_result_always_has_the_same_evidence_but_for_the_signature() -> None:
    first, second = documents(origin_of(), KEY), documents(origin_of(), KEY)
    assert {name for name in first if first[name] != second[name]} <= {"model.sig"}


def test_the_card_has_front_matter_that_the_hub_reads_and_says_what_was_not_tested() -> None:
    shown = evident(report_documents.failing_report(report_documents.spec())).documents[CARD].decode()
    _, front, body = shown.split("---\n", 2)
    about = yaml.safe_load(front)
    metrics = about["model-index"][0]["results"][0]["metrics"]
    assert {"type": "attack_success_rate", "name": "ASR of badpre-bb", "value": 0.435583} in metrics
    assert "**Fail: the hardened model does not meet the policy.**" in body
    assert "43.6 % (71 of 163; 36.2 to 51.2), 2 unscorable" in body
    assert "## What was not tested" in body
    assert "not found by these probes is not absent" in body
    assert " clean." not in body.lower()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_k7_names_are_text_in_the_card(hostile: str) -> None:
    escaped = text(hostile)
    assert "\n" not in escaped
    assert not any(
        escaped[at] in "<>[]()`*_#|!&" and (at == 0 or escaped[at - 1] != "\\") for at in range(len(escaped))
    )
    origin = origin_of()
    report = origin.verified.report.model_copy(update={"base_model": hostile, "training_file": hostile})
    shown = card(replace(origin, verified=replace(origin.verified, report=report))).decode()
    _, front, _ = shown.split("---\n", 2)
    assert yaml.safe_load(front)["model-index"]
    assert json.loads(evident().documents[BILL])
