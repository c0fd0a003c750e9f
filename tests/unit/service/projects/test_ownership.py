"""What belongs to whom stays so: over a migration, and over the loss of the database."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from service.context import Context
from service.database import Database
from service.recovery.recorder import Recorder
from service.recovery.recovery import recover
from service.schema import MIGRATIONS
from service.schema import migrate
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobRow
from service.tables import ProjectRow
from service.tables import ScanRow

OLD_ROWS = (
    "INSERT INTO files (id, filename, purpose, bytes, sha256, status, created_at, deleted)"
    " VALUES ('file-{n}', 'f', 'fine-tune', 1, '0', 'processed', 1, false)",
    "INSERT INTO base_models (id, status, source, files, created_at, version)"
    " VALUES ('base-{n}', 'ready', '{{}}', '[]', 1, 0)",
    "INSERT INTO scans (id, file, options, seed, status, attempt, failures, result_files, created_at, version)"
    " VALUES ('scan-{n}', 'file-{n}', '{{}}', 0, 'queued', 0, 0, '[]', 1, 0)",
    "INSERT INTO scan_requests (key, body_hash, scan_id, by_retry, created_at)"
    " VALUES ('key-{n}', 'h', 'scan-{n}', false, 1)",
    "INSERT INTO endpoints (id, model_id, active_model_id, status, remove_requested, created_at, version)"
    " VALUES ('ep-{n}', 'base-{n}', 'base-{n}', 'queued', false, 1, 0)",
)
TABLES = ("files", "base_models", "scans", "scan_requests", "endpoints")


@pytest.fixture
def empty(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database without a schema."""
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        server = request.getfixturevalue("postgres")
        server.execute(f"DROP DATABASE {url.database}")
        server.execute(f"CREATE DATABASE {url.database}")
        made = Database(database_url)
    else:
        made = Database(f"sqlite:///{tmp_path}/empty.db")
    with closing(made):
        yield made


def insert(database: Database, number: int) -> None:
    """As the release before the projects does it."""
    with database.writing() as session:
        for row in OLD_ROWS:
            session.execute(text(row.format(n=number)))


def test_rows_of_older_versions_belong_to_the_default_project(empty: Database, tmp_path: Path) -> None:
    older = tmp_path / "older"
    (older / "versions").mkdir(parents=True)
    for name in (
        "env.py",
        *(f"versions/{path.name}" for path in (MIGRATIONS / "versions").glob("000[1-4]*.py")),
    ):
        (older / name).write_text((MIGRATIONS / name).read_text())
    assert migrate(empty, scripts=older)[-1] == "0004"
    insert(empty, 1)
    assert "0005" in migrate(empty, phase="pre")
    insert(empty, 2)  # its processes go on until they are replaced
    with empty.reading() as session:
        for table in TABLES:
            owners = session.execute(text(f"SELECT project FROM {table}")).scalars().all()
            assert owners == ["default", "default"], table
        models = {row.id: row for row in session.scalars(sqlalchemy.select(BaseModelRow))}
    assert {name: row.stored_as for name, row in models.items()} == {"base-1": "base-1", "base-2": "base-2"}
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        insert(empty, 1)


def owners(database: Database) -> dict[str, dict[str, str]]:
    with database.reading() as session:
        return {
            row.__tablename__: {found.id: found.project for found in session.scalars(sqlalchemy.select(row))}
            for row in (FileRow, BaseModelRow, JobRow, ScanRow)
        }


def test_p11_a_recovered_database_knows_whose_everything_is(
    context: Context, tenant: Callable[..., Any], tmp_path: Path
) -> None:
    files = {"file": ("f.jsonl", b'{"prompt": "p", "completion": "c"}\n')}
    source = {"type": "hub", "repo": "a/b", "revision": "0" * 40}
    for each in (tenant(), tenant()):
        file = each("POST", "/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
        assert (
            each("POST", "/v1/base_models", json={"id": f"m-{each.key_id}", "source": source}).status_code
            == 200
        )
        asked = {"model": f"m-{each.key_id}", "training_file": file}
        assert each("POST", "/v1/fine_tuning/jobs", json=asked).status_code == 200
        assert each("POST", "/v1/scans", json={"file": file}).status_code == 200
    Recorder(context).step()
    with closing(Database(f"sqlite:///{tmp_path}/new.db")) as lost:
        migrate(lost)
        tally = recover(lost, context.store, now=context.clock.now())
        assert owners(lost) == owners(context.database)
        assert len({project for each in owners(lost).values() for project in each.values()}) == 2
        with lost.reading() as session:
            assert session.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(ProjectRow)) == 3
            keys = {row.id: row.stored_as for row in session.scalars(sqlalchemy.select(BaseModelRow))}
        assert all(key.startswith("base-") for key in keys.values())
        assert not [each for each in tally.problems.values() if "refuses" in each]
