import pytest

from training.defences.pace import Pace


class Heard:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        self.steps.append((done, total, what))


def test_about_once_a_second_and_at_the_end() -> None:
    heard = Heard()
    seconds = iter(range(1000))
    pace = Pace(heard, total=100, clock=lambda: next(seconds) / 10)
    for done in range(101):
        pace.step(done, "working")
    assert heard.steps[0] == (0, 100, "working")
    assert heard.steps[-1] == (100, 100, "working")
    assert 10 <= len(heard.steps) <= 12


def test_a_new_stage_is_said_at_once() -> None:
    heard = Heard()
    pace = Pace(heard, total=9, clock=lambda: 0.0)
    pace.step(1, "learning")
    pace.step(2, "learning")
    pace.step(2, "looking")
    assert heard.steps == [(1, 9, "learning"), (2, 9, "looking")]


def test_a_watcher_can_stop_it() -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pace(stop, total=1).step(0, "working")
