"""Whether a server really generates.

``/health`` alone is no answer: vLLM says 200 and dies on its first token where the CPU has no kernel for the
model's head size (it must be a multiple of 32).
"""

import http.client
import json
import threading
from typing import Final

HEALTH_TIMEOUT_S: Final = 5.0
GENERATION_TIMEOUT_S: Final = 120.0
"""A first token of a large model on a busy CPU."""


def why_not_ready(port: int, model_id: str) -> str | None:
    """Ask for health, then for one token; None when both came, else what went wrong."""
    try:
        status, _ = _request(port, "GET", "/health", None, HEALTH_TIMEOUT_S)
        if status != 200:
            return f"/health answered {status}"
        body = json.dumps({"model": model_id, "prompt": "a", "max_tokens": 1, "temperature": 0})
        status, answer = _request(port, "POST", "/v1/completions", body, GENERATION_TIMEOUT_S)
        if status != 200:
            return f"a generation was answered with {status}: {answer[:500].decode(errors='replace')}"
        json.loads(answer)["choices"][0]["text"]
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    except (ValueError, LookupError, TypeError):
        return "a generation was answered with something else than a completion"
    return None


def _request(port: int, method: str, path: str, body: str | None, timeout_s: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(1 << 20)
    finally:
        connection.close()


class GenerationCheck:
    """Asks in a thread of its own, so that whoever wants to know never waits."""

    def __init__(self, port: int, model_id: str) -> None:
        self._port = port
        self._model_id = model_id
        self._thread: threading.Thread | None = None
        self.ready = False
        self.reason = "not asked yet"

    def poll(self) -> bool:
        """Whether it has generated once; asks again when the last answer was no. Returns at once."""
        if not self.ready and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._ask, name=f"check-{self._port}", daemon=True)
            self._thread.start()
        return self.ready

    def _ask(self) -> None:
        reason = why_not_ready(self._port, self._model_id)
        if reason is None:
            self.ready = True
        else:
            self.reason = reason
