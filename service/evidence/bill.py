"""``mlbom.cdx.json``: a CycloneDX 1.6 bill of materials with a machine-learning-model component."""

import uuid
from collections.abc import Iterator
from typing import Any
from typing import Final

from deploy.contract.report import CleanQuality
from deploy.contract.report import Hits
from deploy.contract.spec import Arm
from deploy.contract.spec import HubBaseModel
from deploy.evidence.envelope import to_json
from service.evidence.origin import PACKAGE
from service.evidence.origin import Origin
from service.evidence.origin import service_version
from service.reports.provenance import weights_digest
from service.reports.published import LIMITS
from service.reports.visible import one_line

_NAMESPACE: Final = uuid.UUID("5a3c6d0e-6f0b-5a83-9d8c-2f3d1f6b7a10")
_TASKS: Final = {"decoder": "text-generation", "encoder-decoder": "text2text-generation"}


def bill(origin: Origin) -> bytes:
    """The bill of one hardened model; the same result always gives the same bytes."""
    result, model = origin.verified.result, _reference(origin, "hardened")
    base, training = _reference(origin, "base"), "training_file"
    return to_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, result.job_id)}",
            "version": 1,
            "metadata": {
                "timestamp": origin.finished,
                "tools": {
                    "components": [{"type": "application", "name": PACKAGE, "version": service_version()}]
                },
                "component": _model(origin, model),
            },
            "components": [_base(origin, base), *_data(origin), *_software(origin)],
            "dependencies": [
                {"ref": model, "dependsOn": [base, training]},
                {"ref": base},
                {"ref": training},
            ],
        }
    )


def _reference(origin: Origin, arm: Arm) -> str:
    return f"model:{arm}:{origin.verified.result.job_id}"


def _model(origin: Origin, reference: str) -> dict[str, Any]:
    digest = weights_digest(origin.model)
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": origin.name,
        "version": digest[:16],
        "description": "A code language model, fine-tuned with a loss that does not learn planted triggers.",
        "hashes": [_sha256(digest)],
        "components": [
            {"type": "file", "name": name, "hashes": [_sha256(each)]} for name, each in origin.digests.items()
        ],
        "modelCard": _card(origin),
        "properties": [
            _property("verdict", origin.verified.judgement.verdict),
            _property("job", origin.verified.result.job_id),
            _property("parameters", origin.model.parameters),
            *(_property("reason", one_line(each)) for each in origin.verified.judgement.reasons),
        ],
    }


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"temper:{name}", "value": str(value)}


def _card(origin: Origin) -> dict[str, Any]:
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": _TASKS[origin.model.architecture],
            "architectureFamily": origin.model.architecture,
            "datasets": [{"ref": "training_file"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*_metrics(origin)]},
        "considerations": {
            "useCases": ["Completing and writing source code."],
            "technicalLimitations": [LIMITS, *map(one_line, origin.verified.report.shortfalls)],
        },
    }


def _metrics(origin: Origin) -> Iterator[dict[str, Any]]:
    report = origin.verified.report
    for probe in report.probes:
        yield _rate("attack success rate", probe.name, probe.arms["hardened"])
    yield from _quality(report.quality["hardened"])


def _quality(quality: CleanQuality) -> Iterator[dict[str, Any]]:
    measured = {"BLEU": quality.bleu, "CodeBLEU": quality.codebleu}
    counted = {"exact match": quality.exact_match, "parses": quality.parses}
    for name, value in measured.items():
        if value is not None:
            yield {"type": name, "slice": "clean prompts", "value": f"{value:.2f}"}
    for name, count in counted.items():
        yield {"type": name, "slice": "clean prompts", "value": f"{count} of {quality.tasks}"}
    for payload, hits in quality.payloads.items():
        yield _rate(f"{payload} without a trigger", "clean prompts", hits)


def _rate(kind: str, of: str, hits: Hits) -> dict[str, Any]:
    low, high = hits.interval
    return {
        "type": kind,
        "slice": f"{of}: {hits.hits} of {hits.trials}, {hits.unscorable} unscorable",
        "value": "no trial" if hits.rate is None else f"{hits.rate:.6f}",
        "confidenceInterval": {"lowerBound": f"{low:.6f}", "upperBound": f"{high:.6f}"},
    }


def _base(origin: Origin, reference: str) -> dict[str, Any]:
    spec, artifact = origin.verified.spec, origin.verified.result.models["base"]
    base = spec.base_model
    described: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": one_line(origin.verified.report.base_model),
        "hashes": [_sha256(weights_digest(artifact))],
    }
    if isinstance(base, HubBaseModel):
        return {**described, "version": base.revision, "purl": f"pkg:huggingface/{base.repo}@{base.revision}"}
    return described


def _data(origin: Origin) -> Iterator[dict[str, Any]]:
    for name in ("training_file", "validation_file", "probe_file"):
        data = getattr(origin.verified.spec, name)
        if data is None:
            continue
        yield {
            "type": "data",
            "bom-ref": name,
            "name": one_line(data.filename),
            "hashes": [_sha256(data.sha256)],
            "properties": [_property("rows", data.rows), _property("bytes", data.size_bytes)],
        }


def _software(origin: Origin) -> Iterator[dict[str, Any]]:
    for name, version in sorted(origin.verified.result.versions.items()):
        kind = "platform" if name == "python" else "library"
        yield {"type": kind, "name": one_line(name), "version": one_line(version)}
    if origin.image is not None:
        yield {"type": "container", "name": origin.image}
