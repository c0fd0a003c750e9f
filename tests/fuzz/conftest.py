"""A running service with a few things in it, to which generated requests are made."""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.api import ApiFuzzer
from tests.fuzz.things import ENVIRONMENT
from tests.fuzz.things import KEY
from tests.fuzz.things import STAND_IN
from tests.fuzz.things import things_in


@pytest.fixture
def fuzzer(make_service: Callable[..., Any]) -> Iterator[ApiFuzzer]:
    service = make_service(**ENVIRONMENT)
    service.command = (str(STAND_IN),)
    service.start()
    with service.client() as client:
        known = things_in(client)
    yield ApiFuzzer(base_url=service.base_url, key=KEY, known=known)
    assert "Traceback" not in service.log
