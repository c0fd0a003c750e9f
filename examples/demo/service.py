"""The service that the demo talks to: the one that listens already, or one of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_S = 60.0


def _is_ready(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def running_service(home: Path) -> Iterator[str]:
    """Yield the base URL of a ready service; one that was started here is stopped in the end.

    Raises:
        SystemExit: it does not start; the end of its log is shown.
    """
    base_url = f"http://{os.environ.get('TEMPER_HOST', '127.0.0.1')}:{os.environ.get('TEMPER_PORT', '8000')}"
    if _is_ready(base_url):
        yield base_url
        return
    home.mkdir(parents=True, exist_ok=True)
    log = home / "service.log"
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "service"], stdout=output, stderr=output)
    # Without this a SIGTERM would end the demo and leave the service behind.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(base_url):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise SystemExit(f"The service did not start. The end of {log}:\n{tail}")
            time.sleep(0.2)
        yield base_url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
