"""The body of ``POST /v1/fine_tuning/jobs``: OpenAI's fields and ours, closed and strict."""

from typing import Annotated
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import StringConstraints
from pydantic import model_validator

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import COMPLETION_COLUMN
from deploy.contract.dataset import PROMPT_COLUMN
from deploy.contract.document import Document
from deploy.contract.method import DeceMethod
from deploy.contract.method import Hyperparameters
from deploy.contract.method import Method
from deploy.contract.probe import GatePolicy
from deploy.contract.probe import ProbePlan
from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import QueueName
from deploy.contract.resources import Resources
from deploy.contract.spec import Lora
from deploy.contract.spec import RowFilterName

ResourceId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Suffix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class ProbeOptions(ProbePlan):
    """Body of ``hardening.probe``: the probe plan, and where its clean tasks come from."""

    file: ResourceId | None = None
    """Id of a file of clean tasks; without one they come from the validation file, else the training file."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [probe.name for probe in self.probes]
        if len(set(names)) != len(names):
            raise ValueError("two probes have the same name")
        return self

    def plan(self) -> ProbePlan:
        """What the job gets to see."""
        return ProbePlan.model_validate_json(self.model_dump_json(exclude={"file"}))


class LoraOptions(Lora):
    """Body of ``hardening.adapter``."""

    type: Literal["lora"]

    def adapter(self) -> Lora:
        """What the job gets to see."""
        return Lora(rank=self.rank, alpha=self.alpha, dropout=self.dropout)


class ColumnOptions(Document):
    """Body of ``hardening.columns``: which columns of a CSV or Parquet file are read."""

    prompt: ColumnName = PROMPT_COLUMN
    completion: ColumnName = COMPLETION_COLUMN


class TrainingOptions(Document):
    """Body of ``hardening.training``: what OpenAI has no hyperparameter for."""

    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    max_tokens: Annotated[int, Field(ge=8, le=131_072)] = 512
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    micro_batch_tokens: Annotated[int, Field(ge=64, le=4_194_304)] = 16_384
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class Hardening(Document):
    """Everything that OpenAI has no word for."""

    control: bool = True
    probe: ProbeOptions = ProbeOptions()
    policy: GatePolicy = GatePolicy()
    row_filter: RowFilterName | None = None
    """Keep from the hardened arm the rows that this filter finds planted; the control arm sees them all."""
    canaries: CanaryPlan | None = None
    """Train a shadow copy with planted canaries too, to measure what the probes would find."""
    adapter: LoraOptions | None = None
    columns: ColumnOptions = ColumnOptions()
    training: TrainingOptions = TrainingOptions()
    resources: Resources = ANY_RESOURCES
    """Machines to train on, where jobs run on a cluster; what is left out is the operator's choice."""
    queue: QueueName | None = None
    """Kueue LocalQueue to wait in, of those that the operator offers; null is the operator's choice."""


class CreateJob(Document):
    """A new job."""

    model: ResourceId
    training_file: ResourceId
    validation_file: ResourceId | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    """Deprecated by OpenAI; fills what ``method`` leaves to ``auto``."""
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    integrations: Annotated[tuple[()], Field()] | None = None
    """None is supported, so only an empty list is accepted."""
    hardening: Hardening = Hardening()

    @property
    def chosen_method(self) -> Method:
        """The method with the deprecated hyperparameters worked in; DeCE where none is named."""
        method: Method = self.method or DeceMethod(type="dece")
        if self.hyperparameters is None:
            return method
        old = self.hyperparameters.model_dump()
        filled = {
            name: old[name]
            for name, value in method.hyperparameters.model_dump().items()
            if value == "auto" and name in old
        }
        merged = method.hyperparameters.model_copy(update=filled)
        options = getattr(method, method.type)  # every method keeps its options under its own name
        return method.model_copy(update={method.type: options.model_copy(update={"hyperparameters": merged})})
