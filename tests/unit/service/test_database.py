"""Units of work, and a schema that migrations and tables agree on."""

import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from service.database import Database
from service.schema import migrate
from service.tables import FileRow
from service.tables import Table
from service.tables import UploadPartRow


def file_row(name: str) -> FileRow:
    return FileRow(id=name, filename="f", purpose="fine-tune", bytes=1, sha256="0", created_at=1)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/deep/er/temper.db")
    migrate(made)
    return made


def test_migrations_make_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    migrate(database)


def test_sqlite_keeps_what_it_promises(database: Database) -> None:
    with database.engine.connect() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert asked == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 10_000}


def test_a_unit_of_work_is_all_or_nothing(database: Database) -> None:
    def fail_half_way() -> None:
        with database.writing() as session:
            session.add(file_row("file-1"))
            session.flush()
            raise KeyError("half way")

    with pytest.raises(KeyError):
        fail_half_way()
    with database.reading() as session:
        assert session.get(FileRow, "file-1") is None


def test_reading_keeps_nothing(database: Database) -> None:
    with database.reading() as session:
        session.add(file_row("file-1"))
        session.flush()
    with database.reading() as session:
        assert session.get(FileRow, "file-1") is None


def test_rows_outlive_their_unit_of_work(database: Database) -> None:
    with database.writing() as session:
        session.add(file_row("file-1"))
    with database.reading() as session:
        row = session.get(FileRow, "file-1")
    assert row is not None
    assert (row.filename, row.deleted) == ("f", False)


def test_foreign_keys_hold(database: Database) -> None:
    def orphan() -> None:
        with database.writing() as session:
            session.add(UploadPartRow(id="part", upload_id="none", bytes=1, sha256="0", created_at=1))

    with pytest.raises(IntegrityError):
        orphan()


def test_writers_take_turns(database: Database) -> None:
    def count_up() -> None:
        for _ in range(20):
            with database.writing() as session:
                row = session.get(FileRow, "file-1")
                assert row is not None
                row.bytes += 1

    with database.writing() as session:
        session.add(file_row("file-1"))
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert session.scalar(sqlalchemy.select(FileRow.bytes)) == 81
