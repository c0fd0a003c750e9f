"""Where a report comes from: the bytes that went in, the weights that came out, and what ran in between."""

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.document import sha256_hex
from deploy.contract.result import JobResult
from deploy.contract.result import ModelArtifact
from deploy.contract.spec import Arm
from deploy.contract.spec import HubBaseModel
from deploy.contract.spec import JobSpec


class Provenance(Document):
    """The chain of evidence of one report. Every digest was recomputed before the job was said to have succeeded."""

    attempt: int
    spec_sha256: Sha256
    report_sha256: Sha256
    """Of the job's own ``report.json``, from whose counts this document was derived."""
    training_file_sha256: Sha256
    training_file_bytes: int
    probe_file_sha256: Sha256 | None
    """Of the clean tasks; None where they came from the validation or the training file."""
    base_model_revision: str | None
    """Commit of a hub model; None for a stored one, which its digest names."""
    weights_sha256: dict[Arm, Sha256]
    """Digest over the names and digests of an arm's files, in the order of their names."""
    versions: dict[str, str]
    started_at: float
    """Unix time."""
    finished_at: float


def weights_digest(artifact: ModelArtifact) -> Sha256:
    """One digest for a directory of files: what ``sha256sum`` prints for them by name, hashed again."""
    lines = [f"{file.sha256}  {file.name}\n" for file in sorted(artifact.files, key=lambda file: file.name)]
    return sha256_hex("".join(lines).encode())


def provenance_of(result: JobResult, spec: JobSpec) -> Provenance:
    """What a verified result and its spec say together."""
    base = spec.base_model
    return Provenance(
        attempt=result.attempt,
        spec_sha256=result.spec_sha256,
        report_sha256=result.report.sha256,
        training_file_sha256=spec.training_file.sha256,
        training_file_bytes=spec.training_file.size_bytes,
        probe_file_sha256=spec.probe_file.sha256 if spec.probe_file is not None else None,
        base_model_revision=base.revision if isinstance(base, HubBaseModel) else None,
        weights_sha256={arm: weights_digest(artifact) for arm, artifact in result.models.items()},
        versions=result.versions,
        started_at=result.started_at,
        finished_at=result.finished_at,
    )
