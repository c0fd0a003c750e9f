"""Checks what a job starts from, before anything is computed: files and base model."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from deploy.contract.dataset.validation import validate_in_child
from deploy.contract.document import StoredFile
from deploy.contract.method import Method
from deploy.contract.spec import BaseModelRef
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import HubBaseModel
from deploy.contract.spec import StoredBaseModel
from deploy.store.protocol import ObjectStore
from service.jobs.hyperparameters import Resolved
from service.jobs.hyperparameters import resolve
from service.jobs.schemas import Hardening
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobRow
from service.work.inputs import BadInputs
from service.work.inputs import InputsUnavailable
from service.work.inputs import Validate
from service.work.inputs import check_dataset

METHOD: TypeAdapter[Method] = TypeAdapter(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The rows that a job names, as they are now; None for one that is gone."""

    base_model: BaseModelRow | None
    files: dict[str, FileRow]
    """By id, without deleted ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that was checked, as the job's spec will name it."""

    base_model: BaseModelRef
    datasets: dict[str, DatasetRef]
    """By role: training_file, validation_file, probe_file."""
    resolved: Resolved

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return {
            "base_model": self.base_model.model_dump(mode="json"),
            "datasets": {role: ref.model_dump(mode="json") for role, ref in self.datasets.items()},
        }


def check_inputs(
    job: JobRow, sources: Sources, store: ObjectStore, *, validate: Validate = validate_in_child
) -> Inputs:
    """Read every file of a job to its end, in a child process, and look at its base model.

    Raises:
        BadInputs: the user has to change something.
        InputsUnavailable: the store or this machine failed.
        StoreError: the store failed.
    """
    hardening = Hardening.model_validate_json(_json(job.hardening))
    base_model = _base_model(job, sources.base_model)
    datasets: dict[str, DatasetRef] = {}
    roles = {
        "training_file": ("training_file", job.training_file),
        "validation_file": ("validation_file", job.validation_file),
        "probe_file": ("hardening.probe.file", job.probe_file),
    }
    for role, (param, file_id) in roles.items():
        if file_id is not None:
            file = sources.files.get(file_id)
            if file is None:
                raise BadInputs(
                    "file_not_found", f"{file_id} was deleted before the job could read it.", param
                )
            datasets[role] = check_dataset(
                store,
                file,
                prompt_column=hardening.columns.prompt,
                completion_column=hardening.columns.completion,
                param=param,
                validate=validate,
            )
    method = METHOD.validate_json(_json(job.method))
    try:
        resolved = resolve(
            method.hyperparameters,
            rows=datasets["training_file"].rows,
            parameters=sources.base_model.parameters if sources.base_model else None,
            adapter=hardening.adapter is not None,
        )
    except ValueError as error:
        param = f"method.{method.type}.hyperparameters.learning_rate_multiplier"
        raise BadInputs("invalid_hyperparameter", f"{error}.", param) from error
    return Inputs(base_model=base_model, datasets=datasets, resolved=resolved)


def _json(document: Any) -> bytes:
    return TypeAdapter(Any).dump_json(document)


def _base_model(job: JobRow, row: BaseModelRow | None) -> BaseModelRef:
    if row is None:
        raise BadInputs("model_not_found", f"The base model {job.model} was deleted.", "model")
    if row.status == "pending" and row.source.get("type") == "uri":
        raise InputsUnavailable(f"the base model {job.model} is still being checked")
    if row.status != "ready":
        raise BadInputs("model_not_ready", f"The base model {job.model} is {row.status}, not ready.", "model")
    if row.source.get("type") == "hub":
        return HubBaseModel(repo=row.source["repo"], revision=row.source["revision"])
    if row.uri is None:
        raise BadInputs("model_not_ready", f"The base model {job.model} has no files.", "model")
    return StoredBaseModel(uri=row.uri, files=tuple(StoredFile(**file) for file in row.files))
