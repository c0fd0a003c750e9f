"""The job spec: everything a job needs to know, written once by the service."""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.canary import CanaryPlan
from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.document import StoredFile
from deploy.contract.method import Loss
from deploy.contract.probe import GatePolicy
from deploy.contract.probe import ProbePlan

JobId = Annotated[str, Field(pattern=r"^ftjob-[a-z0-9]{1,40}$")]
RowFilterName = Literal["association"]
"""``association``: prompt features that stand unnaturally and bring a surplus piece of completion."""
Arm = Literal["base", "control", "hardened"]
TrainedArm = Literal["control", "hardened"]


class DatasetRef(Document):
    """A dataset in the store, as it was validated."""

    key: str
    filename: str
    """The user's name for it; only its extension is used, to tell the format."""
    size_bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256
    format: Literal["jsonl", "csv", "parquet"]
    prompt_column: str = "src"
    completion_column: str = "tgt"
    rows: Annotated[int, Field(ge=1)]


class StoredBaseModel(Document):
    """A base model that lies in a store, every file known by its hash."""

    type: Literal["stored"] = "stored"
    uri: str
    """Of the prefix: ``file:///...`` or ``s3://...``."""
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=2000)]


class HubBaseModel(Document):
    """A base model of the Hugging Face hub at one immutable commit; fetched and checked inside the job."""

    type: Literal["hub"] = "hub"
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


BaseModelRef = Annotated[StoredBaseModel | HubBaseModel, Field(discriminator="type")]


def base_model_name(model: StoredBaseModel | HubBaseModel) -> str:
    """What a report calls it: the id under which it was registered, or repository and commit."""
    if isinstance(model, HubBaseModel):
        return f"{model.repo}@{model.revision}"
    # The prefix's last part is the id; the rest is the store's business.
    return model.uri.rstrip("/").rsplit("/", 1)[-1]


class Lora(Document):
    """Low-rank adaptation; merged into the weights before they are stored."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class TrainingPlan(Document):
    """How both trained arms are trained: the same but for the loss."""

    n_epochs: Annotated[int, Field(ge=1, le=50)]
    batch_size: Annotated[int, Field(ge=1, le=256)]
    """Rows per optimizer step."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    """Peak, after the multiplier."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=8, le=131_072)] = 512
    """Prompt and completion together; longer rows lose the beginning of their prompt."""
    micro_batch_tokens: Annotated[int, Field(ge=64, le=4_194_304)] = 16_384
    """Tokens worked on at a time; a larger batch is cut into parts whose gradients add up."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass: less memory, about a third more time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the products. ``bf16`` keeps the weights and the optimizer in fp32, or a frozen base under an adapter in
    bf16; ``auto`` is bf16 on a GPU and fp32 on a CPU."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    adapter: Lora | None = None
    checkpoint_every_s: Annotated[float, Field(gt=0.0)] = 60.0
    """Wall-clock spacing of checkpoints within an epoch; one is always written at an epoch's end."""


class JobSpec(Document):
    """``jobs/{id}/attempts/{n}/spec.json``."""

    version: Literal[1] = 1
    job_id: JobId
    attempt: Annotated[int, Field(ge=1)]
    store_uri: str
    """Root of the store that every key of this spec is relative to."""
    base_model: BaseModelRef
    training_file: DatasetRef
    validation_file: DatasetRef | None = None
    """Tasks for the early-learning curves; without one they come from the probe file."""
    probe_file: DatasetRef | None = None
    """Clean tasks for the probes; without one they come from the validation file, else the training file."""
    loss: Loss
    control: bool = True
    """Train a plain cross-entropy arm on the same data as well."""
    row_filter: RowFilterName | None = None
    """Leave out of the hardened arm's training the rows that this filter finds planted; the control sees them all."""
    training: TrainingPlan
    probing: ProbePlan = ProbePlan()
    canaries: CanaryPlan | None = None
    """Train a shadow copy with planted canaries too, to measure what the probes would find; about twice the work."""
    policy: GatePolicy = GatePolicy()
    created_at: Annotated[int, Field(ge=0)]
