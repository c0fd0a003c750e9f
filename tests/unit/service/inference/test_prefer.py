"""``Prefer: wait=N``."""

import pytest

from service.inference.prefer import wait_asked


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), 0),
        (("wait=10",), 10),
        (("WAIT = 10",), 10),
        (('wait="10"',), 10),
        (("respond-async, wait=5",), 5),
        (("respond-async", "wait=5"), 5),
        (("wait=5; foo=bar",), 5),
        (("wait=5, wait=9",), 5),
        (("wait=99999",), 600),
        (("wait=-1",), 0),
        (("wait=1.5",), 0),
        (("wait",), 0),
        (("wait=ten, wait=3",), 3),
        (("await=5",), 0),
        (("wait=" + "9" * 400,), 0),
        ((",,;=",), 0),
    ],
)
def test_seconds(headers: tuple[str, ...], seconds: int) -> None:
    assert wait_asked(headers) == seconds
