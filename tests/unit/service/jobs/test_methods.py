"""Every method takes what OpenAI's deprecated member says."""

import pytest
from pydantic import TypeAdapter

from service.jobs.schemas import CreateJob


@pytest.mark.parametrize("kind", ["dece", "supervised", "label_smoothing", "gce", "in_trust"])
def test_the_deprecated_hyperparameters_fill_what_a_method_leaves_open(kind: str) -> None:
    body = {
        "model": "m",
        "training_file": "f",
        "method": {"type": kind, kind: {"hyperparameters": {"batch_size": 2}}},
        "hyperparameters": {"n_epochs": 5, "batch_size": 9},
    }
    job = CreateJob.model_validate_json(TypeAdapter(dict).dump_json(body))
    assert (job.chosen_method.hyperparameters.n_epochs, job.chosen_method.hyperparameters.batch_size) == (
        5,
        2,
    )
