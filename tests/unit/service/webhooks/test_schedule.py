"""When a delivery is tried again."""

import random
from email.utils import formatdate

import pytest

from service.webhooks.schedule import MAX_RETRY_AFTER_S
from service.webhooks.schedule import WAITS_S
from service.webhooks.schedule import retry_after_s
from service.webhooks.schedule import wait_s

NOW = 1_800_000_000.0


def test_the_waits_are_those_of_standard_webhooks_and_never_the_same_twice() -> None:
    chance = random.Random(7)
    for tries, planned in enumerate((5, 300, 1800, 7200, 18000, 36000, 36000), 1):
        waits = {wait_s(tries, None, chance) for _ in range(20)}
        assert len(waits) == 20
        assert all(wait is not None and planned <= wait <= planned * 1.2 for wait in waits)


def test_there_is_an_end() -> None:
    assert wait_s(len(WAITS_S) + 1, None, random.Random(1)) is None
    assert wait_s(len(WAITS_S) + 1, 60.0, random.Random(1)) is None


def test_a_longer_wait_that_the_receiver_asks_for_is_granted_and_a_shorter_one_is_not() -> None:
    assert wait_s(1, 3600.0, random.Random(1)) == 3600.0
    shorter = wait_s(2, 1.0, random.Random(1))
    assert shorter is not None
    assert shorter >= 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999999999999999999999", float(MAX_RETRY_AFTER_S)),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", float(MAX_RETRY_AFTER_S)),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=NOW) == seconds
