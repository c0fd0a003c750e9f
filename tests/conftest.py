"""What every kind of test may use: a real service process on a free port of loopback."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import httpx
import pytest
from hypothesis import settings as hypothesis_settings

pytest_plugins = ["tiny_models", "job_process"]

# How long one example takes says more about the machine than about the code.
hypothesis_settings.register_profile("temper", deadline=None)
hypothesis_settings.load_profile("temper")

START_S = 60.0
STOP_S = 30.0


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(kw_only=True)
class ServiceProcess:
    """``python -m service`` with a home of its own. May be killed and started again on the same home."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] = ("-m", "service")

    @property
    def base_url(self) -> str:
        """Without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running service."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything that the service printed, over all its starts."""
        path = self.home.parent / f"{self.home.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> "ServiceProcess":
        """Start and wait until it is ready."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TEMPER_")}
        env = {**clean, "TEMPER_HOME": str(self.home), "TEMPER_PORT": str(self.port), **self.env}
        with (self.home.parent / f"{self.home.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command], env=env, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_ready()
        return self

    def _wait_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log}")
            try:
                if httpx.get(f"{self.base_url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        self.kill()
        raise AssertionError(f"the service was not ready after {START_S} s:\n{self.log}")

    def stop(self) -> int:
        """SIGTERM, as an operator would. Returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL the service (not its children), as the kernel would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def client(self) -> httpx.Client:
        """A plain HTTP client of it; close it."""
        headers = {}
        if "TEMPER_API_KEY" in self.env:
            headers["authorization"] = f"Bearer {self.env['TEMPER_API_KEY']}"
        return httpx.Client(base_url=self.base_url, trust_env=False, headers=headers, timeout=60)


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Builds services that are not started yet: ``make_service(TEMPER_API_KEY="...")``."""
    made: list[ServiceProcess] = []

    def make(**env: str) -> ServiceProcess:
        service = ServiceProcess(home=tmp_path / f"home{len(made)}", env=env)
        made.append(service)
        return service

    yield make
    for service in made:
        if service.process is not None and service.process.poll() is None:
            try:
                service.stop()
            except subprocess.TimeoutExpired:
                service.kill()


@pytest.fixture
def service_process(make_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A running service."""
    return make_service().start()


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A real S3 protocol server on loopback, and a bucket of it that nobody else uses."""

    endpoint_url: str
    bucket: str


@pytest.fixture(scope="session")
def s3_endpoint_url() -> Iterator[str]:
    """One server for the whole run; tests keep apart by bucket."""
    from moto.server import ThreadedMotoServer  # takes a second to import, and few tests need it

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Endpoint and fresh bucket; the AWS environment of this process and its children points there."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    bucket = f"temper-{secrets.token_hex(8)}"
    httpx.put(f"{s3_endpoint_url}/{bucket}", trust_env=False).raise_for_status()
    return S3Server(endpoint_url=s3_endpoint_url, bucket=bucket)
