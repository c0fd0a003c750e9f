"""Pipelines that submit jobs and do not give up: each request has a key and is repeated until it is answered."""

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

import httpx

JOBS: Final = "/v1/fine_tuning/jobs"
TIMEOUT_S: Final = 4.0
LIES = 13
SEEDS: Final = (100, 100, 100, 100, 100, 100, 42, LIES, 99)
"""Most succeed; some are refused, lie about their weights, or are killed right after their commit."""


@dataclass(slots=True)
class Ledger:
    """What clients were told. Thread-safe where it has to be."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By key."""
    accepted: dict[str, str] = field(default_factory=dict)
    """The job of each key that was answered."""
    cancelled: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    """Answers that must not be."""
    tries: int = 0

    def note(self, key: str, job: str) -> None:
        """A key was answered with a job."""
        if self.accepted.setdefault(key, job) != job:
            self.wrong.append(f"key {key} is of {self.accepted[key]} and of {job}")


class Client(threading.Thread):
    """Submits one job after the other until told to stop."""

    def __init__(
        self,
        urls: list[str],
        file_id: str,
        ledger: Ledger,
        stop: threading.Event,
        *,
        seed: int,
        pause_s: float,
    ) -> None:
        super().__init__(daemon=True)
        self._urls, self._file, self._ledger, self._stop_asked = urls, file_id, ledger, stop
        self._random, self._pause_s = random.Random(seed), pause_s
        self._name, self._number = f"client{seed}", 0

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._number += 1
            key = f"{self._name}-{self._number}"
            seed = LIES if self._number == 2 else self._random.choice(SEEDS)  # each once at least
            self._ledger.bodies[key] = {
                "model": "tiny",
                "training_file": self._file,
                "seed": seed,
                "metadata": {"key": key},
            }
            job = self._insist(key)
            if job is not None and self._random.random() < 0.15:
                time.sleep(self._random.uniform(0.0, 3.0))
                self._cancel(job)
            self._stop_asked.wait(self._random.uniform(0.5, 1.5) * self._pause_s)

    def _insist(self, key: str) -> str | None:
        """Until it is answered, and now and then once more."""
        while not self._stop_asked.is_set():
            job = submit(self._random.choice(self._urls), key, self._ledger)
            if job is not None:
                if self._random.random() < 0.2:
                    submit(self._random.choice(self._urls), key, self._ledger)
                return job
            self._stop_asked.wait(self._random.uniform(0.1, 0.8))
        return None

    def _cancel(self, job: str) -> None:
        with suppress(httpx.HTTPError):
            url = f"{self._random.choice(self._urls)}{JOBS}/{job}/cancel"
            answer = httpx.post(url, trust_env=False, timeout=TIMEOUT_S)
            if answer.status_code == 200:
                self._ledger.cancelled.add(job)


def submit(url: str, key: str, ledger: Ledger) -> str | None:
    """One try. Returns the job, or None when nothing is known."""
    ledger.tries += 1
    try:
        answer = httpx.post(
            f"{url}{JOBS}",
            json=ledger.bodies[key],
            headers={"idempotency-key": key},
            trust_env=False,
            timeout=TIMEOUT_S,
        )
    except httpx.HTTPError:
        return None
    if answer.status_code == 200:
        job = str(answer.json()["id"])
        ledger.note(key, job)
        return job
    if answer.status_code not in {409, 429} and answer.status_code < 500:
        ledger.wrong.append(f"key {key}: {answer.status_code} {answer.text[:200]}")
    return None
