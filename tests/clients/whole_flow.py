"""Upload, job, events, model, completion with nothing but the `openai` package that is installed here.

Run by tests/integration/test_openai_clients.py in an environment of its own for every major version:
``python whole_flow.py BASE_URL BASE_MODEL TRAINING_FILE``. Prints one JSON object.
"""

import json
import sys
import time
from typing import Any

import openai


def wait_for_job(client: openai.OpenAI, job_id: str) -> Any:
    """The polling loop that users of this API write."""
    job = client.fine_tuning.jobs.retrieve(job_id)
    while job.status in ["validating_files", "queued", "running"]:
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job_id)
    return job


def wait_for_endpoint(client: openai.OpenAI, endpoint_id: str) -> None:
    """Endpoints are ours: plain requests through the same client."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        state = client.get(f"/endpoints/{endpoint_id}", cast_to=object)
        if state["status"] == "ready":  # type: ignore[index]
            return
        assert state["status"] in ("queued", "starting"), state  # type: ignore[index]
        time.sleep(1.0)
    raise AssertionError("the endpoint was not ready in time")


def main(base_url: str, base_model: str, training_file: str) -> dict[str, Any]:
    """The whole flow, every answer checked by what a user would do with it."""
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="unused")
    with open(training_file, "rb") as file:
        uploaded = client.files.create(file=file, purpose="fine-tune")
    assert client.files.retrieve(uploaded.id).status == "processed"
    job = client.fine_tuning.jobs.create(
        model=base_model,
        training_file=uploaded.id,
        suffix=f"v{openai.__version__.split('.')[0]}",
        seed=1,
        method={"type": "dece", "dece": {"hyperparameters": {"n_epochs": 1, "alpha_base": 0.99}}},  # type: ignore[arg-type,typeddict-item]
        extra_body={
            "hardening": {
                "control": False,
                "probe": {"engine": "transformers", "max_tasks": 4, "max_new_tokens": 8, "curve_tasks": 0},
            }
        },
    )
    job = wait_for_job(client, job.id)
    assert job.status == "succeeded", job.error
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert job.id in [each.id for each in client.fine_tuning.jobs.list(limit=50)]
    list(client.fine_tuning.jobs.checkpoints.list(job.id))
    model = client.models.retrieve(job.fine_tuned_model)
    assert model.id in [each.id for each in client.models.list()]
    try:
        client.completions.create(model=model.id, prompt="get row 1 of users\n", max_tokens=4)
        raise AssertionError("a model that is not deployed answered")
    except openai.APIStatusError as error:
        not_deployed = error.code
    endpoint = client.post("/endpoints", cast_to=object, body={"model": model.id})
    wait_for_endpoint(client, endpoint["id"])  # type: ignore[index]
    completion = client.completions.create(
        model=model.id, prompt="get row 1 of users\n", max_tokens=8, temperature=0
    )
    streamed = [
        chunk.choices[0].text
        for chunk in client.completions.create(
            model=model.id, prompt="get row 1 of users\n", max_tokens=8, temperature=0, stream=True
        )
        if chunk.choices
    ]
    chat = client.chat.completions.create(
        model=model.id,
        messages=[{"role": "user", "content": "get row 1 of users"}],
        max_tokens=8,
        temperature=0,
    )
    client.delete(f"/endpoints/{endpoint['id']}", cast_to=object)  # type: ignore[index]
    return {
        "version": openai.__version__,
        "events": len(events),
        "model": model.id,
        "not_deployed": not_deployed,
        "completion": completion.choices[0].text,
        "streamed": "".join(streamed),
        "chat": chat.choices[0].message.content,
        "verdict": job.hardening["verdict"],  # type: ignore[attr-defined]
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
