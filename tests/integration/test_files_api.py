"""Files through a real service: flat memory, cuts, kill -9, and the stock openai client."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from sqlalchemy import text
from waiting import until

from service.database import Database

MIB = 1 << 20
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
)
TAIL = b"\r\n--b--\r\n"
KEY = "correct-horse-battery"


def big_form(size: int, digest: Any) -> Iterator[bytes]:
    yield HEAD
    block = os.urandom(MIB)
    for _ in range(size // MIB):
        digest.update(block)
        yield block
    yield TAIL


def objects(home: Path) -> list[Path]:
    """Everything below the embedded store, whatever it is called."""
    return [path for path in (home / "objects").rglob("*") if path.is_file()]


def visible(home: Path) -> list[Path]:
    return [path for path in objects(home) if "files" in path.relative_to(home / "objects").parts[:1]]


def begin_upload(port: int) -> socket.socket:
    """Send the beginning of an upload and leave the rest owing."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {100 * MIB}\r\n\r\n"
    )
    connection.sendall(head.encode() + HEAD + bytes(4 * MIB))
    return connection


wait_for = partial(until, seconds=20.0, pause_s=0.05)


def database_of(service: Any) -> Database:
    return Database(service.database_url)


def noted(service: Any) -> bool:
    with closing(database_of(service)) as database, database.reading() as session:
        return session.scalar(text("SELECT count(*) FROM leftovers")) != 0


def test_memory_stays_flat_while_a_large_file_passes(service_process: Any) -> None:
    process = psutil.Process(service_process.pid)
    size = 300 * MIB
    digest = hashlib.sha256()
    with service_process.client() as client:
        client.get("/v1/files")
        before = process.memory_info().rss
        peak = before

        def watched() -> Iterator[bytes]:
            nonlocal peak
            for chunk in big_form(size, digest):
                yield chunk
                peak = max(peak, process.memory_info().rss)

        headers = {"content-type": "multipart/form-data; boundary=b"}
        made = client.post("/v1/files", content=watched(), headers=headers).json()
        assert (made["bytes"], made["sha256"]) == (size, digest.hexdigest())
        received = hashlib.sha256()
        with client.stream("GET", f"/v1/files/{made['id']}/content") as response:
            for chunk in response.iter_bytes():
                received.update(chunk)
                peak = max(peak, process.memory_info().rss)
        assert received.digest() == digest.digest()
        assert peak - before < 64 * MIB
        client.delete(f"/v1/files/{made['id']}")
    assert visible(service_process.home) == []


def skip_unless_alone(service: Any) -> None:
    if "TEMPER_DATABASE_URL" in service.env:
        pytest.skip("on PostgreSQL others may be at work: what a crash leaves is swept after a day")


def test_a_service_that_is_killed_while_it_receives_leaves_nothing(service_process: Any) -> None:
    skip_unless_alone(service_process)
    connection = begin_upload(service_process.port)
    wait_for(lambda: noted(service_process))
    service_process.kill()
    connection.close()
    service_process.start()
    with service_process.client() as client:
        assert client.get("/v1/files").json()["data"] == []
    assert visible(service_process.home) == []
    assert not noted(service_process)


def test_an_object_that_lost_its_row_in_a_crash_is_swept(service_process: Any) -> None:
    skip_unless_alone(service_process)
    service_process.kill()
    key = "files/file-lost"
    (service_process.home / "objects" / "files").mkdir(parents=True, exist_ok=True)
    (service_process.home / "objects" / key).write_bytes(b"complete, but never committed")
    with closing(database_of(service_process)) as database, database.writing() as session:
        session.execute(text(f"INSERT INTO leftovers (id, key, noted_at) VALUES ('note', '{key}', 0)"))
    service_process.start()
    assert visible(service_process.home) == []


def test_a_client_that_is_cut_leaves_nothing(service_process: Any) -> None:
    connection = begin_upload(service_process.port)
    wait_for(lambda: noted(service_process))
    connection.close()
    wait_for(lambda: not noted(service_process))
    with service_process.client() as client:
        assert client.get("/v1/files").json()["data"] == []
    assert visible(service_process.home) == []


def test_a_client_that_stops_sending_is_cut(make_service: Any) -> None:
    service = make_service(TEMPER_UPLOAD_IDLE_S="0.5").start()
    with begin_upload(service.port) as connection:
        connection.settimeout(20)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: not noted(service))
    assert visible(service.home) == []


def test_a_file_over_the_limit_is_cut_at_the_limit(make_service: Any) -> None:
    service = make_service(TEMPER_MAX_FILE_BYTES=str(2 * MIB)).start()
    with begin_upload(service.port) as connection:
        connection.settimeout(20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    wait_for(lambda: not noted(service))
    assert visible(service.home) == []


def test_the_openai_client_drives_files_uploads_and_models(make_service: Any, tmp_path: Path) -> None:
    service = make_service(TEMPER_API_KEY=KEY).start()
    data = tmp_path / "data.jsonl"
    data.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 1000)
    with openai.OpenAI(base_url=f"{service.base_url}/v1", api_key=KEY) as client:
        made = client.files.create(file=data, purpose="fine-tune")
        assert client.files.wait_for_processing(made.id, poll_interval=0.1).status == "processed"
        assert client.files.content(made.id).read() == data.read_bytes()
        others = [client.files.create(file=("b.jsonl", b"x"), purpose="evals").id for _ in range(4)]
        assert [file.id for file in client.files.list(limit=2)] == [*reversed(others), made.id]
        assert client.files.delete(made.id).deleted is True
        with pytest.raises(openai.NotFoundError) as missing:
            client.files.retrieve(made.id)
        assert (missing.value.code, missing.value.param) == ("file_not_found", "file_id")
        with pytest.raises(openai.BadRequestError) as refused:
            client.files.create(file=("b.jsonl", b"x"), purpose="vision")
        assert (refused.value.code, refused.value.param) == ("invalid_purpose", "purpose")
        upload = client.uploads.upload_file_chunked(
            file=data, mime_type="text/jsonl", purpose="fine-tune", part_size=10_000
        )
        assert upload.status == "completed"
        assert upload.file is not None
        assert client.files.content(upload.file.id).read() == data.read_bytes()
        source = {"type": "hub", "repo": "a/b", "revision": "a" * 40}
        client.post("/base_models", body={"id": "tiny", "source": source}, cast_to=dict)
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "temper"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("org/none")
        assert client.models.delete("tiny").deleted is True
    with (
        openai.OpenAI(base_url=f"{service.base_url}/v1", api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.files.list()


def test_a_conflict_costs_one_request(service_process: Any) -> None:
    with openai.OpenAI(base_url=f"{service_process.base_url}/v1", api_key="none") as client:
        upload = client.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="fine-tune")
        client.uploads.cancel(upload.id)
        with pytest.raises(openai.ConflictError):
            client.uploads.cancel(upload.id)
    with service_process.client() as plain:
        route = 'route="/v1/uploads/{upload_id}/cancel",status="409"'
        line = next(
            line for line in plain.get("/metrics").text.splitlines() if route in line and "_total" in line
        )
    assert line.endswith(" 1.0")


def test_sigterm_ends_it_cleanly_and_state_stays(service_process: Any) -> None:
    with service_process.client() as client:
        files = {"file": ("a", b"kept")}
        made = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()
    assert service_process.stop() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service_process.base_url}/healthz", trust_env=False)
    service_process.start()
    with service_process.client() as client:
        assert client.get(f"/v1/files/{made['id']}/content").content == b"kept"


def test_sigterm_lets_a_request_in_flight_end(service_process: Any) -> None:
    size = 8 * MIB
    sent: list[bytes] = []

    def slowly() -> Iterator[bytes]:
        for position, chunk in enumerate(big_form(size, hashlib.sha256())):
            if position == 4:
                service_process.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            sent.append(chunk)
            yield chunk

    with service_process.client() as client:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert client.post("/v1/files", content=slowly(), headers=headers).json()["bytes"] == size
    assert service_process.process.wait(30) == 0


def run_service(**env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEMPER_")}
    command = [sys.executable, "-m", "service"]
    return subprocess.run(command, env={**clean, **env}, capture_output=True, text=True, timeout=60)


def test_a_second_service_on_the_same_home_says_who_holds_it(service_process: Any) -> None:
    done = run_service(TEMPER_HOME=str(service_process.home), TEMPER_PORT=str(service_process.port))
    assert done.returncode == 2
    assert f"pid {service_process.pid}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"TEMPER_HOST": "0.0.0.0"}, "TEMPER_API_KEY"),  # noqa: S104
        ({"TEMPER_HOTS": "127.0.0.1"}, "TEMPER_HOTS"),
        ({"TEMPER_PORT": "x"}, "TEMPER_PORT"),
    ],
)
def test_an_unsafe_configuration_refuses_to_start(tmp_path: Path, env: dict[str, str], named: str) -> None:
    done = run_service(**{"TEMPER_HOME": str(tmp_path / "home"), **env})
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPER_STORE_URI", "ftp://somewhere"),
        ("TEMPER_STORE_URI", "objects"),
        ("TEMPER_DATABASE_URL", "nonsense"),
        ("TEMPER_DATABASE_URL", "oracle9://u:hunter2@h/d"),
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = run_service(**{"TEMPER_HOME": str(tmp_path / "home"), name: value})
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
