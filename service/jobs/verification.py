"""Whether a committed result is what it says: nothing of it is believed before its bytes were hashed."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.judgement import Judgement
from deploy.contract.judgement import judge
from deploy.contract.report import Report
from deploy.contract.result import JobResult
from deploy.contract.result import ModelArtifact
from deploy.contract.result import StoredObject
from deploy.contract.spec import Arm
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.evidence.names import DOCUMENTS
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.reports.trust import believe
from service.work.stored import BadResult
from service.work.stored import expect_key
from service.work.stored import read_document
from service.work.stored import refuse_large
from service.work.stored import verify_object

LARGEST_COUNT: Final = 2**53
TRAINED_ARMS: tuple[Arm, ...] = ("control", "hardened")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedResult:
    """A result whose every byte was hashed."""

    result: JobResult
    spec: JobSpec
    report: Report
    judgement: Judgement


def load_result(store: ObjectStore, job_id: str) -> tuple[JobResult, JobSpec]:
    """The result of a job with the spec it answers; both small, their objects not verified.

    Raises:
        BadResult: it is not a result, is another job's, or answers a spec that the service did not write.
        ObjectMissing: there is none.
    """
    key = layout.result_key(job_id)
    refuse_large(store, key)
    try:
        result = JobResult.from_bytes(store.get(key))
    except DocumentError as error:
        raise BadResult(str(error)) from error
    if result.job_id != job_id:
        raise BadResult(f"it is of {result.job_id}")
    try:
        written = store.get(layout.spec_key(job_id, result.attempt))
    except ObjectMissing as error:
        raise BadResult(f"there is no spec of attempt {result.attempt}") from error
    if sha256_hex(written) != result.spec_sha256:
        raise BadResult("it answers another spec")
    spec = JobSpec.from_bytes(written)
    if spec.job_id != job_id or spec.attempt != result.attempt:
        raise BadResult("its spec is of another attempt")
    return result, spec


def verify_result(
    store: ObjectStore,
    job_id: str,
    *,
    verify_weights: Callable[[ObjectStore, StoredObject], None] = verify_object,
) -> VerifiedResult:
    """Load a result and hash everything it names; takes as long as reading the weights takes.

    Args:
        store: to read.
        job_id: whose result it is.
        verify_weights: looks at each file of a model that the job wrote; raises BadResult.

    Raises:
        BadResult: something is missing, different, or not where this attempt may write.
        StoreError: the store failed; nothing is known.
    """
    result, spec = load_result(store, job_id)
    expected: set[Arm] = {"base", "control", "hardened"} if spec.control else {"base", "hardened"}
    if set(result.models) != expected:
        raise BadResult(f"its models are {sorted(result.models)}, not {sorted(expected)}")
    counts = [result.trained_tokens, *(model.parameters for model in result.models.values())]
    if max(counts) > LARGEST_COUNT:
        raise BadResult("it counts more than there can be")
    attempt, pod = result.attempt, result.pod
    expect_key(result.report, layout.report_key(job_id, attempt, pod))
    expect_key(result.metrics, layout.metrics_key(job_id, attempt, pod))
    for arm in TRAINED_ARMS:
        if arm in result.models:
            _verify_copy(store, job_id, result, arm, verify_weights)
    if isinstance(spec.base_model, StoredBaseModel):
        _expect_base(result.models["base"], spec.base_model)
    else:
        # Fetched from the hub by the job, which keeps a copy: only so can it be served and compared.
        _verify_copy(store, job_id, result, "base", verify_weights)
    verify_object(store, result.metrics)
    report = load_report(store, result, spec)
    return VerifiedResult(result=result, spec=spec, report=report, judgement=judge(report))


def load_report(store: ObjectStore, result: JobResult, spec: JobSpec) -> Report:
    """The report of a result, verified and believed.

    Raises:
        BadResult: its bytes are others than recorded, or they cannot be true.
    """
    data = read_document(store, result.report)
    try:
        return believe(data, spec)
    except DocumentError as error:
        raise BadResult(str(error)) from error


def _verify_copy(
    store: ObjectStore,
    job_id: str,
    result: JobResult,
    arm: Arm,
    verify: Callable[[ObjectStore, StoredObject], None],
) -> None:
    prefix = layout.model_prefix(job_id, result.attempt, result.pod, arm)
    artifact = result.models[arm]
    if artifact.uri.rstrip("/") != f"{store.uri}/{prefix}".rstrip("/"):
        raise BadResult(f"the {arm} model lies outside of its attempt")
    for stored in _objects(prefix, artifact):
        verify(store, stored)
    listed = {file.name for file in artifact.files}
    # A verification that a crash cut short may have left evidence there: it is written anew.
    own = frozenset(DOCUMENTS) if arm == "hardened" else frozenset[str]()
    if listed & own:
        raise BadResult(f"{min(listed & own)} is a file that only the service may write")
    for found in store.list(prefix):
        if found.key.removeprefix(prefix) not in listed | own:
            raise BadResult(f"{found.key} is not part of the result")


def _objects(prefix: str, artifact: ModelArtifact) -> Iterator[StoredObject]:
    for file in artifact.files:
        yield StoredObject(key=prefix + file.name, size_bytes=file.size_bytes, sha256=file.sha256)


def _expect_base(artifact: ModelArtifact, base: StoredBaseModel) -> None:
    """The base arm is what the spec named."""
    same = {file.name: file for file in artifact.files} == {file.name: file for file in base.files}
    if artifact.uri.rstrip("/") != base.uri.rstrip("/") or not same:
        raise BadResult("the base model is not the one of the spec")
