"""Stands for ``vllm serve DIR --port N --served-model-name ID ...``; the model's README.md says what goes wrong.

``stand_in``: ``crash`` ends while it loads, ``hang`` never listens, ``mute`` is healthy and never generates.
Told to end, it aborts what it is doing, as vLLM does.
"""

import json
import os
import secrets
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

WEIGHTS = Path(next(word for word in sys.argv[1:] if word.startswith("/")))
OPTIONS = dict(zip(sys.argv, sys.argv[1:], strict=False))
MODEL, PORT = OPTIONS["--served-model-name"], int(OPTIONS["--port"])
BEHAVIOUR = (WEIGHTS / "README.md").read_text()
START = secrets.token_hex(8)
"""Tells one start from another."""
LOCK = threading.Lock()
FIGURES = {"tokens": 0, "running": 0}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        labels = f'{{model_name="{MODEL}"}}'
        page = f"vllm:generation_tokens_total{labels} {FIGURES['tokens']}.0\n"
        page += f"vllm:num_requests_running{labels} {FIGURES['running']}.0\n"
        self.reply(200, page.encode() if self.path == "/metrics" else b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["model"] != MODEL:
            self.reply(404, b"{}")
            return
        with LOCK:
            FIGURES["running"] += 1
        try:
            self.generate(body["prompt"])
        finally:
            with LOCK:
                FIGURES["running"] -= 1

    def generate(self, prompt: str) -> None:
        if BEHAVIOUR == "mute":
            time.sleep(600)
        time.sleep({"slow": 0.6, "very slow": 2.0}.get(prompt, 0.0))
        with LOCK:
            FIGURES["tokens"] += 1
        choice = {"index": 0, "text": f"echo {prompt}", "logprobs": None, "finish_reason": "stop"}
        answer = {"id": f"cmpl-{START}", "object": "text_completion", "created": 1, "model": MODEL}
        self.reply(200, json.dumps({**answer, "choices": [choice], "usage": {"total_tokens": 2}}).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


print("loading weights", flush=True)  # noqa: T201
if BEHAVIOUR == "crash":
    raise RuntimeError("no kernel for head size 33")
if BEHAVIOUR == "hang":
    time.sleep(600)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a pod has to listen itself
server = ThreadingHTTPServer((OPTIONS["--host"], PORT), Handler)
server.daemon_threads = True
server.serve_forever(0.05)
