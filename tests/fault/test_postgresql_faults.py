"""The database crashes, cuts, waits and fills up: nothing that was accepted is lost, and nobody waits for long."""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from starlette.testclient import TestClient

from deploy.store.opening import open_store
from service.app import create_app
from service.context import Context
from service.database import Database
from service.schema import migrate
from service.settings import settings_from_env

HUB = {"type": "hub", "repo": "a/b", "revision": "a" * 40}
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20
SUBMITTERS = 4
EACH = 12


def wait_for(condition: Callable[[], object], *, seconds: float = 30.0) -> float:
    """Returns how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "waited in vain"
        time.sleep(0.05)
    return time.monotonic() - began


def until_accepted(client: httpx.Client, body: dict[str, Any], key: str) -> tuple[str, list[int]]:
    """As a careful client does: the same key again until there is an answer."""
    codes: list[int] = []
    for _ in range(300):
        try:
            answer = client.post("/v1/fine_tuning/jobs", json=body, headers={"idempotency-key": key})
        except httpx.TransportError:
            codes.append(0)
        else:
            codes.append(answer.status_code)
            if answer.status_code == 200:
                return str(answer.json()["id"]), codes
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
        time.sleep(0.1)
    raise AssertionError(f"never accepted: {codes}")


def test_g1_a_crash_of_the_database_in_a_storm_loses_nothing(
    make_postgres: Callable[..., Any], make_service: Callable[..., Any]
) -> None:
    server = make_postgres(settings="")  # which survives its crash: fsync is on
    server.start()
    server.execute("CREATE DATABASE temper")
    database = Database(server.url("temper"))
    migrate(database)
    database.close()
    service = make_service(TEMPER_DATABASE_URL=server.url("temper"))
    service.command = ("-m", "service", "api")
    service.start()
    with service.client() as client, ThreadPoolExecutor(SUBMITTERS) as pool:
        assert client.post("/v1/base_models", json={"id": "hub", "source": HUB}).status_code == 200
        files = {"file": ("t.jsonl", ROWS)}
        file = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
        body = {"model": "hub", "training_file": file, "seed": 0}
        half = threading.Barrier(SUBMITTERS + 1)

        def submit(number: int) -> list[tuple[str, list[int]]]:
            accepted = []
            for turn in range(EACH):
                if turn == EACH // 2:
                    half.wait(60)
                accepted.append(until_accepted(client, body, f"{number}/{turn}"))
            return accepted

        storm = [pool.submit(submit, number) for number in range(SUBMITTERS)]
        half.wait(60)
        server.stop("immediate")
        wait_for(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/healthz").status_code == 200
        server.start()
        assert wait_for(lambda: client.get("/readyz").status_code == 200) < 10
        accepted = [each for future in storm for each in future.result(60)]
        ids = {job for job, _ in accepted}
        assert any(code != 200 for _, codes in accepted for code in codes), "the crash hit nobody"
        assert len(ids) == SUBMITTERS * EACH
        page = client.get("/v1/fine_tuning/jobs?limit=100").json()["data"]
        assert {job["id"] for job in page} == ids
    assert server.execute("SELECT count(*) FROM jobs", name="temper") == [(SUBMITTERS * EACH,)]
    assert server.execute("SELECT count(*) FROM job_events", name="temper") == [(SUBMITTERS * EACH,)]


@pytest.fixture
def context(postgres_url: str, tmp_path: Path) -> Iterator[Context]:
    """Of an API replica with small pools and short patience."""
    env = {
        "TEMPER_HOME": str(tmp_path / "home"),
        "TEMPER_DATABASE_URL": postgres_url,
        "TEMPER_DATABASE_POOL_SIZE": "2",
        "TEMPER_DATABASE_POOL_TIMEOUT_S": "0.2",
        "TEMPER_DATABASE_LOCK_TIMEOUT_S": "0.3",
        "TEMPER_DATABASE_STATEMENT_TIMEOUT_S": "0.6",
        "TEMPER_DATABASE_IDLE_TIMEOUT_S": "0.5",
    }
    settings = settings_from_env(env, role="api")
    database = Database(settings.database_url, settings.database)
    yield Context(settings=settings, database=database, store=open_store(settings.store_uri))
    database.close()


@pytest.fixture
def api(context: Context) -> Iterator[TestClient]:
    app = create_app(context)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def other(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else who uses the same database."""
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        yield connection
        connection.rollback()


def register(api: TestClient, name: str = "hub") -> httpx.Response:
    return api.post("/v1/base_models", json={"id": name, "source": HUB})


def unavailable(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable") and bool(
        answer.headers["retry-after"]
    )


def test_g2_a_connection_that_is_cut_is_replaced(api: TestClient, other: psycopg.Connection[Any]) -> None:
    assert register(api).status_code == 200
    other.autocommit = True
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'temper'"
    assert len(other.execute(cut).fetchall()) >= 1
    assert api.get("/v1/base_models").status_code == 200


def test_g2_a_transaction_that_is_cut_answers_503_and_leaves_nothing(
    api: TestClient, other: psycopg.Connection[Any]
) -> None:
    other.autocommit = True
    blocker = psycopg.connect(other.info.dsn)
    blocker.execute("LOCK TABLE base_models IN SHARE MODE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(register, api)
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'temper' AND wait_event_type = 'Lock'"
        )
        wait_for(lambda: other.execute(cut).fetchall(), seconds=5)
        assert unavailable(waiting.result(10))
    blocker.close()
    assert api.get("/v1/base_models").json()["data"] == []
    assert register(api).status_code == 200


def test_g3_a_lock_is_not_waited_for_for_long(api: TestClient, other: psycopg.Connection[Any]) -> None:
    other.execute("LOCK TABLE base_models IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    assert unavailable(register(api))
    assert unavailable(api.get("/v1/base_models"))
    assert time.monotonic() - began < 5
    other.rollback()
    assert register(api).status_code == 200


def test_g3_many_requests_behind_a_lock_do_not_pile_up(
    api: TestClient, other: psycopg.Connection[Any]
) -> None:
    other.execute("LOCK TABLE base_models IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: register(api, f"m{number}"), range(32)))
    assert time.monotonic() - began < 15
    assert all(unavailable(answer) for answer in answers)
    other.rollback()
    assert register(api).status_code == 200


def test_g3_a_statement_that_takes_too_long_is_ended(context: Context) -> None:
    with pytest.raises(Exception, match="statement timeout"), context.database.reading() as session:
        session.connection().exec_driver_sql("SELECT pg_sleep(30)")
    context.database.ping()


def test_a_transaction_in_which_nothing_happens_is_ended_by_the_server(context: Context) -> None:
    def forget() -> None:
        with context.database.writing() as session:
            session.connection().exec_driver_sql("SELECT 1")
            time.sleep(1.0)
            session.connection().exec_driver_sql("SELECT 1")

    with pytest.raises(Exception, match=r"idle-in-transaction|closed"):
        forget()
    context.database.ping()


def test_g4_of_a_deadlock_the_request_is_served_again(
    api: TestClient, context: Context, other: psycopg.Connection[Any]
) -> None:
    register(api)
    files = {"file": ("t.jsonl", ROWS)}
    file = api.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    other.execute("SET deadlock_timeout = '10s'")  # so that it is the request that loses
    other.execute("SET lock_timeout = '20s'")
    other.execute("SELECT 1 FROM files WHERE id = %s FOR UPDATE", [file])
    with context.database.reading() as session:
        session.connection().exec_driver_sql("SET deadlock_timeout = '50ms'")
        session.commit()
    watcher = psycopg.connect(other.info.dsn, autocommit=True)
    waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'temper' AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        body = {"model": "hub", "training_file": file, "seed": 0}
        asked = pool.submit(lambda: api.post("/v1/fine_tuning/jobs", json=body))
        wait_for(lambda: watcher.execute(waits).fetchall(), seconds=5)
        # The request holds the base model and waits for the file; this closes the circle.
        other.execute("SELECT 1 FROM base_models WHERE id = 'hub' FOR UPDATE")
        other.rollback()
        assert asked.result(20).status_code == 200
    watcher.close()
    assert len(api.get("/v1/fine_tuning/jobs").json()["data"]) == 1


def test_a_database_that_only_reads_answers_reads(
    api: TestClient, context: Context, other: psycopg.Connection[Any]
) -> None:
    assert register(api).status_code == 200
    name = context.database.url.database
    other.autocommit = True
    other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # type: ignore[call-overload]
    other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'temper'")
    assert api.get("/v1/base_models/hub").status_code == 200
    assert unavailable(register(api, "two"))
    assert api.get("/readyz").status_code == 200
    other.execute("SET default_transaction_read_only = off")
    other.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")  # type: ignore[call-overload]
    other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'temper'")
    assert register(api, "two").status_code == 200


def test_without_a_database_nobody_waits(tmp_path: Path) -> None:
    env = {
        "TEMPER_HOME": str(tmp_path / "home"),
        "TEMPER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    settings = settings_from_env(env, role="api")
    database = Database(settings.database_url, settings.database)
    context = Context(settings=settings, database=database, store=open_store(settings.store_uri))
    app = create_app(context)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        began = time.monotonic()
        assert unavailable(client.get("/v1/files"))
        assert client.get("/readyz").json()["checks"]["database"] == "unreachable"
        files = {"file": ("t.jsonl", ROWS)}
        assert unavailable(client.post("/v1/files", data={"purpose": "fine-tune"}, files=files))
        assert time.monotonic() - began < 5
    database.close()
