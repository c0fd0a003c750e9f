"""What the service itself tells of a job: every decision, once."""

from typing import Any


def told(world: Any, job: str) -> list[str]:
    return [event["message"] for event in world.events(job) if event["type"] == "message"][::-1]


def test_the_first_decision_does_not_hide_behind_the_creation(world: Any) -> None:
    job = world.create()["id"]
    world.finish(job)
    messages = told(world, job)
    assert messages[:3] == [
        f"Created fine-tuning job: {job}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert messages[-1].startswith("The job has successfully completed")


def test_a_job_that_is_refused_says_why(world: Any) -> None:
    job = world.create(training_file=world.upload(b"not json\n"))["id"]
    world.finish(job)
    assert [message.partition(":")[0] for message in told(world, job)] == [
        "Created fine-tuning job",
        "t.jsonl",
    ]
