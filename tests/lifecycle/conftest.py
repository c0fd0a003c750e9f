"""Worlds: see :mod:`tests.lifecycle.world`."""

import logging
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_world import load_stand_in
from starlette.testclient import TestClient

from service.app import create_app
from service.reconcile import background
from service.reconcile import errands
from service.reconcile import work_ticks
from tests.lifecycle.inline import Inline
from tests.lifecycle.world import World
from tests.lifecycle.world import bare_context
from tests.lifecycle.world import begin
from tests.lifecycle.world import through_views

MakeWorld = Callable[[], World]


@pytest.fixture(scope="module")
def inline() -> Iterator[None]:
    """What a reconciler would do in other threads it does at once, and no tick is cut short by its clock."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (background, errands):
            patch.setattr(module, "ThreadPoolExecutor", Inline)
        for name in ("ACT_S", "LISTEN_S"):
            patch.setattr(work_ticks, name, 3600.0)
        logging.disable(logging.CRITICAL)  # every death of a request is an incident with a page of frames
        yield
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def make_world(inline: None, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeWorld]:
    """Makes one after the other; each is closed by its user."""
    stand_in = load_stand_in()
    through_views(stand_in)
    app = create_app(bare_context(tmp_path_factory.mktemp("bare"), migrated))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        beginning = begin(tmp_path_factory.mktemp("beginning"), migrated, app, client, stand_in)

        def make() -> World:
            return World(tmp_path_factory.mktemp("world"), beginning, app, client, stand_in)

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> Iterator[World]:
    made = make_world()
    yield made
    made.close()
