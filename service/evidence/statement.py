"""The in-toto statement with SLSA provenance of a hardened model; docs/buildtypes/harden-v1.md is its page."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from deploy.contract.spec import HubBaseModel
from deploy.contract.spec import JobSpec
from deploy.evidence.envelope import to_json
from deploy.evidence.provenance import BUILD_TYPE
from deploy.evidence.provenance import BUILDER
from deploy.evidence.provenance import PREDICATE
from deploy.evidence.provenance import VERDICT
from deploy.evidence.signature import STATEMENT
from service.evidence.origin import PACKAGE
from service.evidence.origin import Origin
from service.evidence.origin import service_version
from service.evidence.origin import timestamp


def statement(origin: Origin, byproducts: Mapping[str, str]) -> bytes:
    """The statement, to be signed.

    Args:
        origin: of the model.
        byproducts: SHA-256 by name of what lies beside the model.
    """
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": _asked(origin.verified.spec),
        "internalParameters": _resolved(origin),
        "resolvedDependencies": [*_dependencies(origin)],
    }
    return to_json(
        {
            "_type": STATEMENT,
            "subject": [_descriptor(name, digest) for name, digest in origin.digests.items()],
            "predicateType": PREDICATE,
            "predicate": {"buildDefinition": definition, "runDetails": _run(origin, byproducts)},
        }
    )


def _descriptor(name: str, sha256: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}, **more}


def _asked(spec: JobSpec) -> dict[str, Any]:
    """What the job's user decided."""
    asked = spec.model_dump(mode="json", include={"loss", "control", "row_filter", "probing", "canaries"})
    base = spec.base_model
    named = {"hub": f"{base.repo}@{base.revision}"} if isinstance(base, HubBaseModel) else {"stored": True}
    return {"job": spec.job_id, "base_model": named, **asked}


def _resolved(origin: Origin) -> dict[str, Any]:
    """What became of it: no ``auto`` is left."""
    spec, report = origin.verified.spec, origin.verified.report
    return {
        "training": spec.training.model_dump(mode="json"),
        "loss": report.method,
        "policy": spec.policy.model_dump(mode="json"),
        "spec_sha256": origin.verified.result.spec_sha256,
    }


def _dependencies(origin: Origin) -> Iterator[dict[str, Any]]:
    spec, result = origin.verified.spec, origin.verified.result
    for name in ("training_file", "validation_file", "probe_file"):
        data = getattr(spec, name)
        if data is not None:
            about = {"rows": data.rows, "bytes": data.size_bytes, "format": data.format}
            yield _descriptor(name, data.sha256, annotations=about)
    base = spec.base_model
    if isinstance(base, HubBaseModel):
        uri = f"pkg:huggingface/{base.repo}@{base.revision}"
        yield {"name": "base_model", "uri": uri, "digest": {"gitCommit": base.revision}}
    for file in sorted(result.models["base"].files, key=lambda file: file.name):
        yield _descriptor(f"base_model/{file.name}", file.sha256)
    for name, version in sorted(result.versions.items()):
        # As the job itself tells them; nobody can hash what ran from outside of its machine.
        kind = "generic" if name == "python" else "pypi"
        yield {"name": name, "uri": f"pkg:{kind}/{name}@{version}", "annotations": {"told_by": "job"}}
    if origin.image is not None:
        yield _image(origin.image)


def _image(image: str) -> dict[str, Any]:
    name, _, digest = image.partition("@sha256:")
    described: dict[str, Any] = {"name": "image", "uri": f"docker://{name}"}
    return {**described, "digest": {"sha256": digest}} if digest else described


def _run(origin: Origin, byproducts: Mapping[str, str]) -> dict[str, Any]:
    result, judgement = origin.verified.result, origin.verified.judgement
    told = {"verdict": judgement.verdict, "reasons": list(judgement.reasons), "power": judgement.power}
    return {
        "builder": {"id": BUILDER, "version": {PACKAGE: service_version()}},
        "metadata": {
            "invocationId": f"{result.job_id}/attempts/{result.attempt}/{result.pod}",
            "startedOn": timestamp(result.started_at),
            "finishedOn": origin.finished,
        },
        "byproducts": [
            *(_descriptor(name, digest) for name, digest in byproducts.items()),
            _descriptor("job/report.json", result.report.sha256),
            _descriptor("job/metrics.csv", result.metrics.sha256),
            {"name": VERDICT, "annotations": told},
        ],
    }
