"""Asks a model server of this machine whether it really generates. Imports nothing but Python's own modules.

An endpoint's init container copies this file beside the weights, and the vLLM container, which has none of our
code, runs it: ``python3 probe.py started|working|drain --port 8000 --model ID``.

started   ``/health``, then one token: for a startup probe, whose load nobody minds.
working   for readiness and liveness. A busy server must not be killed, nor burdened: where its counters of tokens
          have moved since the last look, it works. Only where they stand still is it asked for a token, and it
          fails when neither that token comes nor another one moves the counters meanwhile.
drain     for a preStop hook: waits until nobody sends new requests here and all that were sent are answered. vLLM
          itself aborts what it is doing when it is told to end.

``/health`` alone is no answer: vLLM says 200 and dies on its first token where the CPU has no kernel for the
model's head size (it must be a multiple of 32).
"""

import argparse
import http.client
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Final

HEALTH_TIMEOUT_S: Final = 5.0
GENERATION_TIMEOUT_S: Final = 120.0
"""A first token of a large model on a busy CPU."""
FRESH_S: Final = 30.0
"""A server that stands still is asked for a token no more often."""
SETTLE_S: Final = 10.0
"""Until every node of a cluster has heard that this replica takes no more requests."""
DRAIN_S: Final = 300.0
"""The proxy gives a server up that says nothing for this long."""
_COUNTERS: Final = re.compile(
    r"^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? ([0-9.eE+]+)\s*$", re.MULTILINE
)
_REQUESTS: Final = re.compile(
    r"^vllm:num_requests_(?:running|waiting)(?:\{.*\})? ([0-9.eE+]+)\s*$", re.MULTILINE
)


def why_not_ready(port: int, model_id: str, *, timeout_s: float = GENERATION_TIMEOUT_S) -> str | None:
    """Ask for health, then for one token; None when both came, else what went wrong."""
    return _why_not_healthy(port) or _why_not_generating(port, model_id, timeout_s)


def why_not_working(port: int, model_id: str, *, state: str, timeout_s: float) -> str | None:
    """None when it works on something, or did a moment ago, or answers with a token; else what went wrong.

    Args:
        port: of the server.
        model_id: that it answers to.
        state: path of a file that remembers the last look.
        timeout_s: for a token of a server that stands still.
    """
    unhealthy = _why_not_healthy(port)
    if unhealthy is not None:
        return unhealthy
    tokens, (known, worked_at) = _tokens(port), _recall(state)
    if tokens is not None and known is not None and tokens != known:
        _remember(state, tokens)
        return None
    if tokens is not None and tokens == known and 0 <= time.monotonic() - worked_at < FRESH_S:
        return None
    reason = _why_not_generating(port, model_id, timeout_s)
    after = _tokens(port)
    if reason is None or (after is not None and after != tokens):
        _remember(state, after)
        return None
    return reason


def drain(port: int, *, settle_s: float = SETTLE_S, limit_s: float = DRAIN_S) -> None:
    """Return when no request is going on, or ``limit_s`` is over, or the server is gone; not before ``settle_s``."""
    ends_at = time.monotonic() + limit_s
    time.sleep(settle_s)
    quiet = 0
    while (
        quiet < 2 and time.monotonic() < ends_at
    ):  # twice: the last bytes of an answer are still on their way
        going_on = _sum(port, _REQUESTS)
        quiet = 0 if going_on else quiet + 1
        time.sleep(0.5)


def _why_not_healthy(port: int) -> str | None:
    try:
        status, _ = _request(port, "GET", "/health", None, HEALTH_TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    return None if status == 200 else f"/health answered {status}"


def _why_not_generating(port: int, model_id: str, timeout_s: float) -> str | None:
    body = json.dumps({"model": model_id, "prompt": "a", "max_tokens": 1, "temperature": 0})
    try:
        status, answer = _request(port, "POST", "/v1/completions", body, timeout_s)
        if status != 200:
            return f"a generation was answered with {status}: {answer[:500].decode(errors='replace')}"
        json.loads(answer)["choices"][0]["text"]
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    except (ValueError, LookupError, TypeError):
        return "a generation was answered with something else than a completion"
    return None


def _tokens(port: int) -> float | None:
    """All tokens that went in and came out so far; None where the server does not say."""
    return _sum(port, _COUNTERS)


def _sum(port: int, pattern: "re.Pattern[str]") -> float | None:
    try:
        status, page = _request(port, "GET", "/metrics", None, HEALTH_TIMEOUT_S, limit_bytes=8 << 20)
        found = [float(number) for number in pattern.findall(page.decode(errors="replace"))]
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return sum(found) if status == 200 and found else None


def _request(
    port: int, method: str, path: str, body: str | None, timeout_s: float, *, limit_bytes: int = 1 << 20
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(limit_bytes)
    finally:
        connection.close()


def _recall(state: str) -> tuple[float | None, float]:
    """Tokens and time of the last look at which it worked."""
    try:
        with open(state, encoding="ascii") as file:
            known = json.load(file)
        return known["tokens"], float(known["at"])
    except (OSError, ValueError, LookupError, TypeError):
        return None, 0.0


def _remember(state: str, tokens: float | None) -> None:
    aside = f"{state}.{os.getpid()}"
    try:
        with open(aside, "w", encoding="ascii") as file:
            json.dump({"tokens": tokens, "at": time.monotonic()}, file)
        os.replace(aside, state)
    except OSError as error:
        print(f"cannot remember the last look: {error}", file=sys.stderr)  # noqa: T201 - of a probe


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 is good, 1 is not; the reason is printed."""
    parser = argparse.ArgumentParser(description="Whether a model server generates.")
    parser.add_argument("mode", choices=("started", "working", "drain"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--state", default="/tmp/probe.json")  # noqa: S108 - the container's own
    parser.add_argument("--timeout", type=float, default=GENERATION_TIMEOUT_S)
    parser.add_argument("--settle", type=float, default=SETTLE_S)
    options = parser.parse_args(arguments)
    if options.mode == "drain":
        drain(options.port, settle_s=options.settle, limit_s=options.timeout)
        return 0
    if options.mode == "started":
        reason = why_not_ready(options.port, options.model, timeout_s=options.timeout)
        if reason is None:
            _remember(options.state, _tokens(options.port))
    else:
        reason = why_not_working(options.port, options.model, state=options.state, timeout_s=options.timeout)
    if reason is None:
        return 0
    print(reason)  # noqa: T201 - the kubelet keeps it in an event
    return 1


if __name__ == "__main__":
    sys.exit(main())
