"""Migrations in two phases, on old data, killed in the middle, several at once, with the code of the release before."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import text

from service.database import Database
from service.schema import MIGRATIONS
from service.schema import SchemaError
from service.schema import await_schema
from service.schema import check_schema
from service.schema import migrate
from service.schema import wait_for
from service.tables import FileRow

ENV = (MIGRATIONS / "env.py").read_text()
STEP = """
from alembic import op
import sqlalchemy as sa
import time

revision = {revision!r}
down_revision = {before!r}
branch_labels = None
depends_on = None
phase = {phase!r}


def upgrade() -> None:
    {body}
"""
OLD_FILE = (
    "INSERT INTO files (id, filename, purpose, bytes, sha256, status, created_at, deleted)"
    " VALUES ('file-old', 'f', 'fine-tune', 1, '0', 'processed', 1, false)"
)


@pytest.fixture
def database(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Empty, without a schema."""
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        server = request.getfixturevalue("postgres")
        server.execute(f"DROP DATABASE {url.database}")
        server.execute(f"CREATE DATABASE {url.database}")
        made = Database(database_url)
    else:
        made = Database(f"sqlite:///{tmp_path}/empty.db")
    yield made
    made.close()


def scripts(folder: Path, *steps: tuple[str, str]) -> Path:
    """A line of migrations: each a phase and the body of its upgrade."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    before = None
    for number, (phase, body) in enumerate(steps, start=1):
        revision = f"{number:04d}"
        step = STEP.format(revision=revision, before=before, phase=phase, body=body)
        (versions / f"{revision}_step.py").write_text(step)
        before = revision
    return folder


def made(name: str) -> str:
    return f"op.create_table({name!r}, sa.Column('id', sa.Integer(), primary_key=True))"


def tables(database: Database) -> set[str]:
    return set(sqlalchemy.inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_every_step_says_in_which_phase_it_may_run() -> None:
    for path in sorted((MIGRATIONS / "versions").glob("[0-9]*.py")):
        assert any(line in {'phase = "pre"', 'phase = "post"'} for line in path.read_text().splitlines()), (
            path
        )


def test_g7_it_may_be_repeated(database: Database) -> None:
    applied = migrate(database)
    assert applied[:3] == ["0001", "0002", "0003"]
    assert migrate(database) == migrate(database, phase="pre") == migrate(database, phase="post") == []
    check_schema(database)


def test_g7_old_data_stays_and_old_code_goes_on(database: Database, tmp_path: Path) -> None:
    older = tmp_path / "older"
    (older / "versions").mkdir(parents=True)
    (older / "env.py").write_text(ENV)
    for name in ("0001_initial.py", "0002_scans.py"):
        (older / "versions" / name).write_text((MIGRATIONS / "versions" / name).read_text())
    assert migrate(database, scripts=older) == ["0001", "0002"]
    with database.writing() as session:
        session.execute(text(OLD_FILE))
    with pytest.raises(SchemaError, match="migrate --phase pre"):
        check_schema(database)
    assert "0003" in migrate(database, phase="pre")
    check_schema(database)
    # The processes of the release before neither refuse the newer schema nor fail on it.
    check_schema(database, scripts=older)
    with database.writing() as session:
        session.execute(text(OLD_FILE.replace("file-old", "file-older")))
        assert session.execute(text("SELECT count(*) FROM files WHERE NOT deleted")).scalar() == 2
    with database.reading() as session:
        old = session.get(FileRow, "file-old")
    assert old is not None
    assert old.filename == "f"


def test_a_first_install_is_waited_for(database: Database, tmp_path: Path) -> None:
    line = scripts(tmp_path / "line", ("pre", made("a")), ("pre", made("b")))
    begun = scripts(tmp_path / "begun", ("pre", made("a")))
    waited: list[float] = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        migrate(database, scripts=begun if len(waited) == 1 else line)

    await_schema(database, scripts=line, sleep=meanwhile)
    assert len(waited) == 2
    assert tables(database) == {"a", "b"}


def test_a_first_install_is_not_waited_for_without_end(database: Database) -> None:
    with pytest.raises(SchemaError, match="empty"):
        await_schema(database, timeout_s=0.0)


def test_an_older_schema_is_refused_at_once(database: Database, tmp_path: Path) -> None:
    migrate(database, scripts=scripts(tmp_path / "old", ("pre", made("a"))))

    def never(_seconds: float) -> None:
        raise AssertionError("waited")

    line = scripts(tmp_path / "line", ("pre", made("a")), ("pre", made("b")))
    with pytest.raises(SchemaError, match="0002"):
        await_schema(database, scripts=line, sleep=never)


def test_a_phase_goes_as_far_as_it_may(database: Database, tmp_path: Path) -> None:
    line = scripts(tmp_path / "line", ("pre", made("a")), ("pre", made("b")), ("post", "op.drop_table('a')"))
    with pytest.raises(SchemaError, match="this version needs 0002"):
        check_schema(database, scripts=line)
    assert migrate(database, phase="pre", scripts=line) == ["0001", "0002"]
    assert tables(database) == {"a", "b"}
    check_schema(database, scripts=line)
    assert migrate(database, phase="post", scripts=line) == ["0003"]
    assert tables(database) == {"b"}
    check_schema(database, scripts=line)


def test_a_release_that_was_left_out_is_named(database: Database, tmp_path: Path) -> None:
    line = scripts(tmp_path / "line", ("pre", made("a")), ("post", "op.drop_table('a')"), ("pre", made("c")))
    migrate(database, phase="pre", scripts=scripts(tmp_path / "old", ("pre", made("a"))))
    with pytest.raises(SchemaError, match="0002"):
        migrate(database, phase="pre", scripts=line)
    assert tables(database) == {"a"}
    assert migrate(database, scripts=line) == ["0002", "0003"]


def test_a_schema_of_newer_code_is_not_touched(database: Database, tmp_path: Path) -> None:
    migrate(database, scripts=scripts(tmp_path / "new", ("pre", made("a")), ("pre", made("b"))))
    older = scripts(tmp_path / "old", ("pre", made("a")))
    check_schema(database, scripts=older)
    with pytest.raises(SchemaError, match="newer"):
        migrate(database, scripts=older)


def test_a_step_that_fails_leaves_the_step_before(database: Database, tmp_path: Path) -> None:
    body = f"{made('b')}\n    raise RuntimeError('half way')"
    line = scripts(tmp_path / "line", ("pre", made("a")), ("pre", body))
    with pytest.raises(RuntimeError):
        migrate(database, scripts=line)
    assert tables(database) == {"a"}
    (line / "versions" / "0002_step.py").write_text(
        STEP.format(revision="0002", before="0001", phase="pre", body=made("b"))
    )
    sys.modules.pop("0002_step_py", None)
    assert migrate(database, scripts=line) == ["0002"]


KILLED = """
import sys
from pathlib import Path
from service.database import Database
from service.schema import migrate

migrate(Database(sys.argv[1]), scripts=Path(sys.argv[2]))
"""


def test_g7_a_migrator_that_is_killed_in_a_step_may_be_run_again(database: Database, tmp_path: Path) -> None:
    told = tmp_path / "reached"
    body = f"{made('b')}\n    open({str(told)!r}, 'w').close()\n    time.sleep(60)"
    line = scripts(tmp_path / "line", ("pre", made("a")), ("pre", body))
    url = database.url.render_as_string(hide_password=False)
    killed = subprocess.Popen([sys.executable, "-c", KILLED, url, str(line)])
    deadline = time.monotonic() + 60
    while not told.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(10)
    whole = scripts(tmp_path / "whole", ("pre", made("a")), ("pre", made("b")))
    assert migrate(database, scripts=whole) == ["0002"]
    assert tables(database) == {"a", "b"}


def test_g7_of_several_at_once_one_works(database: Database, tmp_path: Path) -> None:
    url = database.url.render_as_string(hide_password=False)
    if not database.shared:
        pytest.skip("SQLite has one process")
    applied: list[list[str]] = []

    def run() -> None:
        own = Database(url)
        applied.append(migrate(own))
        own.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(len, applied))[:3] == [0, 0, 0]
    assert sum(map(len, applied)) == len(list((MIGRATIONS / "versions").glob("[0-9]*.py")))


def test_a_database_is_waited_for_within_bounds() -> None:
    nowhere = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    began = time.monotonic()
    with pytest.raises(sqlalchemy.exc.OperationalError):
        wait_for(nowhere, timeout_s=0.7)
    assert 0.7 <= time.monotonic() - began < 10
