"""No room is left for the database: what is there can be read, what cannot be kept is refused, nothing is half."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deploy.store.opening import open_store
from service.app import create_app
from service.context import Context
from service.database import Database
from service.schema import migrate
from service.settings import settings_from_env

HUB = {"type": "hub", "repo": "a/b", "revision": "a" * 40}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """16 MiB, which only root can mount."""
    folder = Path(tempfile.mkdtemp(prefix="pg-full-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("a small disk is mounted by root alone")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def test_g8_a_full_disk_refuses_writes_and_answers_reads(
    postgres: Any, small_disk: Path, tmp_path: Path, make_postgres: Callable[..., Any]
) -> None:
    place = small_disk / "tables"
    place.mkdir()
    if postgres.owner is not None:
        shutil.chown(small_disk, postgres.owner)
        shutil.chown(place, postgres.owner)
    postgres.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    postgres.execute("CREATE DATABASE small TABLESPACE small")
    env = {"TEMPER_HOME": str(tmp_path), "TEMPER_DATABASE_URL": postgres.url("small")}
    settings = settings_from_env(env, role="api")
    database = Database(settings.database_url, settings.database)
    try:
        migrate(database)
        context = Context(settings=settings, database=database, store=open_store(settings.store_uri))
        app = create_app(context)
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as api:
            fill_and_look(api)
    finally:
        database.close()
        postgres.execute("DROP DATABASE small WITH (FORCE)")
        postgres.execute("DROP TABLESPACE small")


def fill_and_look(api: TestClient) -> None:
    assert api.post("/v1/base_models", json={"id": "hub", "source": HUB}).status_code == 200
    files = [
        {"name": f"model-{number}.safetensors", "size_bytes": 1, "sha256": secrets.token_hex(32)}
        for number in range(2000)
    ]
    kept: list[str] = []
    for number in range(500):
        source = {"type": "upload", "files": files}
        answer = api.post("/v1/base_models", json={"id": f"m{number}", "source": source})
        if answer.status_code != 200:
            break
        kept.append(f"m{number}")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert answer.headers["retry-after"]
    assert api.get("/readyz").status_code == 200
    assert api.get("/v1/base_models/hub").json()["status"] == "ready"
    listed = {model["id"] for model in api.get("/v1/base_models?limit=1000").json()["data"]}
    assert listed == {"hub", *kept}
