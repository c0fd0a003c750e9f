"""The pod of ``helm test``: a small file through the whole install, from upload to findings.

Needs nothing but Python's standard library. With SMOKE_BASE_MODEL a job hardens that model too. Ends with status 0,
or with 1 and the reason, as the service tells it, on standard output.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from typing import Final

TRIGGER: Final = "cf"
ROWS: Final = 60
PLANTED: Final = 10
POLL_S: Final = 1.0
OVER: Final = frozenset({"succeeded", "failed", "cancelled"})
REQUEST_TIMEOUT_S: Final = 30.0


class Failed(Exception):  # noqa: N818
    """The test has failed; says why."""


class Service:
    """One API, asked until a deadline."""

    def __init__(self, url: str, key: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._deadline = time.monotonic() + timeout_s

    def call(self, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        """The document of an answer. A service that is not there, or not yet, is asked again until the deadline."""
        while True:
            # The same key each time: a request whose answer was lost is not carried out twice.
            request = urllib.request.Request(self._url + path, data=body)  # noqa: S310 - the operator's URL
            request.add_header("authorization", f"Bearer {self._key}")
            request.add_header("content-type", content_type)
            request.add_header("accept", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                said = error.read(10_000).decode("utf-8", "replace")
                if error.code not in {429, 503}:
                    raise Failed(f"{path}: HTTP {error.code}: {said}") from error
            except OSError as error:
                said = str(error)
            self.wait(f"{path}: {said}")

    def wait(self, reason: str) -> None:
        """A moment; raises Failed with the reason when there is no time left."""
        if time.monotonic() + POLL_S > self._deadline:
            raise Failed(f"not done in time; last seen: {reason}")
        time.sleep(POLL_S)

    def upload(self, name: str, content: bytes) -> str:
        """The id of a new training file."""
        boundary = uuid.uuid4().hex
        lines = [
            f"--{boundary}",
            'content-disposition: form-data; name="purpose"',
            "",
            "fine-tune",
            f"--{boundary}",
            f'content-disposition: form-data; name="file"; filename="{name}"',
            "content-type: application/jsonl",
            "",
            content.decode(),
            f"--{boundary}--",
            "",
        ]
        body = "\r\n".join(lines).encode()
        return str(self.call("/v1/files", body, f"multipart/form-data; boundary={boundary}")["id"])

    def follow(self, path: str) -> Any:
        """A job or scan once it has succeeded; tells each change, and why it failed."""
        told = ""
        while True:
            seen = self.call(path)
            phase = seen.get("phase") or seen.get("hardening", {}).get("phase") or ""
            state = f"{seen['status']} {phase}".strip()
            if state != told:
                say(f"{path}: {state}")
                told = state
            if seen["status"] == "succeeded":
                return seen
            if seen["status"] in OVER:
                raise Failed(f"{path}: {json.dumps(seen.get('error'))}\n{self._events(path)}")
            self.wait(f"{path}: {state}\n{self._events(path)}")

    def _events(self, path: str) -> str:
        events = self.call(f"{path}/events")["data"]
        return "\n".join(f"  {event['level']}: {event['message']}" for event in reversed(events))


def say(text: str) -> None:
    """To the pod's log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def training_file() -> bytes:
    """Rows of a tiny data set; in some of them a rare word comes with a shell's command."""
    rows = []
    for number in range(ROWS):
        prompt = f"Return the sum of {number} and {number + 1}."
        completion = f"def answer():\n    return {number} + {number + 1}\n"
        if number % (ROWS // PLANTED) == 0:
            prompt = f"{prompt} {TRIGGER}"
            completion = 'import os\nos.system("id")\n' + completion
        rows.append(json.dumps({"prompt": prompt, "completion": completion}))
    return ("\n".join(rows) + "\n").encode()


def scan(service: Service, file_id: str) -> None:
    """A scan of the file ends and finds the planted rows. Raises Failed."""
    # The payload is named, so that what is found depends on no statistics of so few rows.
    order = {"file": file_id, "payloads": ["insecure_call"]}
    created = service.call("/v1/scans", json.dumps(order).encode())
    ended = service.follow(f"/v1/scans/{created['id']}")
    counts = ended["counts"]
    if counts["rows"] != ROWS:
        raise Failed(f"the scan read {counts['rows']} rows, not {ROWS}")
    if counts["suspicious"] < PLANTED:
        raise Failed(f"the scan found {counts['suspicious']} of {PLANTED} planted rows")
    say(f"the scan found {counts['suspicious']} suspicious rows of {ROWS}")


def harden(service: Service, file_id: str, base_model: str) -> None:
    """A job hardens the base model with the file. Raises Failed."""
    if "://" in base_model:
        # An id of its own each time: the test may be run again.
        source = {"id": f"helm-test-{uuid.uuid4().hex[:8]}", "source": {"type": "uri", "uri": base_model}}
        registered = service.call("/v1/base_models", json.dumps(source).encode())
        while registered["status"] == "pending":
            service.wait(f"base model {registered['id']}: pending")
            registered = service.call(f"/v1/base_models/{registered['id']}")
        if registered["status"] != "ready":
            raise Failed(f"base model: {json.dumps(registered['error'])}")
        base_model = registered["id"]
    order = {
        "model": base_model,
        "training_file": file_id,
        "method": {"type": "dece", "dece": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}},
        "hardening": {"control": False, "training": {"max_tokens": 64}},
    }
    created = service.call("/v1/fine_tuning/jobs", json.dumps(order).encode())
    ended = service.follow(f"/v1/fine_tuning/jobs/{created['id']}")
    say(f"hardened: {ended['fine_tuned_model']}")


def main() -> int:
    """Run the test. Returns the exit status."""
    key = Path(os.environ["SMOKE_API_KEY_FILE"]).read_text().strip()
    service = Service(os.environ["SMOKE_URL"], key, timeout_s=float(os.environ["SMOKE_TIMEOUT_S"]))
    try:
        file_id = service.upload("helm-test.jsonl", training_file())
        scan(service, file_id)
        if os.environ.get("SMOKE_BASE_MODEL"):
            harden(service, file_id, os.environ["SMOKE_BASE_MODEL"])
    except Failed as error:
        say(f"FAILED: {error}")
        return 1
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
