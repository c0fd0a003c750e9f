"""What a crash leaves half done."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreUnavailable
from service.leftovers import Leftovers


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = open_store((tmp_path / "objects").as_uri())
    for key in ("files/a", "files/b", "base_models/m/x", "base_models/m/y", "base_models/mm/x"):
        made.put(key, b"x")
    return made


def crash(leftovers: Leftovers, key: str) -> AbstractContextManager[None]:
    """Enter and never leave, as a killed process does; whoever drops the answer leaves after all."""
    note = leftovers.noted(key)
    note.__enter__()
    return note


def keys(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list("")]


def test_only_noted_objects_without_a_row_are_deleted(tmp_path: Path, store: ObjectStore) -> None:
    leftovers = Leftovers(tmp_path / "leftovers")
    cut = [crash(leftovers, key) for key in ("files/a", "base_models/m/", "files/b")]
    assert len(list(leftovers.directory.iterdir())) == len(cut)
    deleted = leftovers.sweep(store, known=lambda key: key == "files/b")
    assert sorted(deleted) == ["base_models/m/", "files/a"]
    assert keys(store) == ["base_models/mm/x", "files/b"]
    assert leftovers.sweep(store, known=lambda _: False) == []
    assert keys(store) == ["base_models/mm/x", "files/b"]


def test_what_ended_is_not_noted(tmp_path: Path, store: ObjectStore) -> None:
    leftovers = Leftovers(tmp_path / "leftovers")
    with leftovers.noted("files/a"):
        pass
    with pytest.raises(KeyError), leftovers.noted("files/b"):
        raise KeyError
    assert leftovers.sweep(store, known=lambda _: False) == []


def test_a_note_that_was_cut_deletes_nothing(tmp_path: Path, store: ObjectStore) -> None:
    leftovers = Leftovers(tmp_path / "leftovers")
    leftovers.directory.mkdir()
    (leftovers.directory / "cut").write_bytes(b"")
    before = keys(store)
    assert leftovers.sweep(store, known=lambda _: False) == []
    assert keys(store) == before


def test_nothing_was_ever_noted(tmp_path: Path, store: ObjectStore) -> None:
    assert Leftovers(tmp_path / "none").sweep(store, known=lambda _: False) == []


def test_an_object_that_the_store_would_not_delete_stays_noted(tmp_path: Path, store: ObjectStore) -> None:
    leftovers = Leftovers(tmp_path / "leftovers")
    with pytest.raises(StoreUnavailable), leftovers.noted("files/a"):
        raise StoreUnavailable
    assert leftovers.sweep(store, known=lambda _: False) == ["files/a"]
