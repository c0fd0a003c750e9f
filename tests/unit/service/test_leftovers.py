"""What a crash leaves half done."""

from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreUnavailable
from service.context import Context
from service.errors import Unavailable
from service.leftovers import Leftovers
from service.leftovers import Note
from service.tables import LeftoverRow


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = open_store((tmp_path / "objects").as_uri())
    for key in ("files/a", "files/b", "base_models/m/x", "base_models/m/y", "base_models/mm/x"):
        made.put(key, b"x")
    return made


@pytest.fixture
def leftovers(context: Context) -> Leftovers:
    return context.leftovers


def crash(leftovers: Leftovers, key: str) -> AbstractContextManager[Note]:
    """Enter and never leave, as a killed process does; whoever drops the answer leaves after all."""
    note = leftovers.noted(key)
    note.__enter__()
    return note


def keys(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list("")]


def noted(leftovers: Leftovers) -> int:
    with leftovers.database.reading() as session:
        return session.scalar(select(func.count()).select_from(LeftoverRow)) or 0


def unknown(_session: Session, _key: str) -> bool:
    return False


def test_only_noted_objects_without_a_row_are_deleted(leftovers: Leftovers, store: ObjectStore) -> None:
    cut = [crash(leftovers, key) for key in ("files/a", "base_models/m/", "files/b")]
    assert noted(leftovers) == len(cut)
    deleted = leftovers.sweep(store, known=lambda _session, key: key == "files/b")
    assert sorted(deleted) == ["base_models/m/", "files/a"]
    assert keys(store) == ["base_models/mm/x", "files/b"]
    assert noted(leftovers) == 0
    assert leftovers.sweep(store, known=unknown) == []
    assert keys(store) == ["base_models/mm/x", "files/b"]


def test_what_ended_is_not_noted(leftovers: Leftovers, store: ObjectStore) -> None:
    with leftovers.noted("files/a"):
        pass
    with pytest.raises(KeyError), leftovers.noted("files/b"):
        raise KeyError
    assert leftovers.sweep(store, known=unknown) == []


def test_what_ended_on_the_event_loop_is_not_noted(leftovers: Leftovers) -> None:
    async def end_well_and_badly() -> None:
        async with leftovers.noted_async("files/a"):
            assert noted(leftovers) == 1
        assert noted(leftovers) == 0
        with pytest.raises(KeyError):
            async with leftovers.noted_async("files/b"):
                raise KeyError
        assert noted(leftovers) == 0
        with pytest.raises(StoreUnavailable):
            async with leftovers.noted_async("files/c"):
                raise StoreUnavailable

    anyio.run(end_well_and_badly)
    assert noted(leftovers) == 1


@pytest.mark.parametrize("error", [StoreUnavailable(), OperationalError("COMMIT", None, OSError())])
def test_what_ends_nobody_knows_how_stays_noted(
    leftovers: Leftovers, store: ObjectStore, error: Exception
) -> None:
    with pytest.raises(type(error)), leftovers.noted("files/a"):
        raise error
    assert leftovers.sweep(store, known=unknown) == ["files/a"]


def test_a_young_note_is_left_to_its_writer(leftovers: Leftovers, store: ObjectStore) -> None:
    cut = [crash(leftovers, key) for key in ("files/a", "files/b")]
    with leftovers.database.writing() as session:
        old = update(LeftoverRow).where(LeftoverRow.key == "files/a")
        session.execute(old.values(noted_at=LeftoverRow.noted_at - 101))
    assert leftovers.sweep(store, known=unknown, older_than_s=100) == ["files/a"]
    assert noted(leftovers) == len(cut) - 1


def test_a_writer_that_is_swept_cannot_promise_its_object(leftovers: Leftovers, store: ObjectStore) -> None:
    with leftovers.noted("files/a") as note:
        assert leftovers.sweep(store, known=unknown) == ["files/a"]
        with pytest.raises(Unavailable), leftovers.database.writing() as session:
            note.strike(session)


def test_a_struck_note_stands_again_when_its_transaction_fails(
    leftovers: Leftovers, store: ObjectStore
) -> None:
    def fail() -> None:
        with leftovers.noted("files/a") as note, leftovers.database.writing() as session:
            note.strike(session)
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        fail()
    assert leftovers.sweep(store, known=unknown) == ["files/a"]
