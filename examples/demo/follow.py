"""Follows a fine-tuning job: a bar for every arm and for probing, with the current loss and the time left."""

import time
from typing import Any

from openai import OpenAI
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn

TERMINAL = {"succeeded", "failed", "cancelled"}
COLOURS = {"control": "red", "hardened": "green", "probing": "cyan"}


class _Bars:
    """One bar for everything that counts steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            label = f"[{COLOURS.get(name, 'white')}]{name:>8}"
            self._tasks[name] = self._progress.add_task(label, total=total, note="")
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def take(self, event: Any) -> None:
        data = event.data or {}
        if "total_steps" in data:
            left = f"{int(data['eta_s']) // 60}:{int(data['eta_s']) % 60:02d} left"
            # How much of cross-entropy's gradient the loss lets through: 100 % in the control arm.
            gate = f"gradient {data['gradient_weight']:.0%}"
            note = f"epoch {data['epoch']}/{data['n_epochs']} loss {data['loss']:.3f} {gate} {left}"
            self.show(data["arm"], data["step"], data["total_steps"], note)
        elif "total" in data and "done" in data:
            self.show("probing", data["done"], data["total"], event.message)
        else:
            self._progress.console.print(
                f"  [dim]{event.message}[/dim]"
                if event.level == "info"
                else f"  [yellow]{event.message}[/yellow]"
            )


def _events_since(client: OpenAI, job_id: str, seen: set[str]) -> list[Any]:
    fresh = []
    for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
        if event.id in seen:
            break
        fresh.append(event)
    seen.update(event.id for event in fresh)
    return fresh[::-1]


def follow(client: OpenAI, job_id: str, console: Console) -> Any:
    """Poll until the job ends. Returns the job.

    Raises:
        SystemExit: the job did not succeed; its error is shown.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    seen: set[str] = set()
    with Progress(*columns, console=console) as progress:
        bars = _Bars(progress)
        while True:
            job = client.fine_tuning.jobs.retrieve(job_id)
            for event in _events_since(client, job_id, seen):
                bars.take(event)
            if job.status in TERMINAL:
                break
            time.sleep(1.0)
    if job.status != "succeeded":
        reason = job.error.message if job.error else "no reason was given"
        raise SystemExit(f"The job {job.status}: {reason}")
    return job
