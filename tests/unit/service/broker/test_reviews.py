"""Whose token it is: what the API server's answers mean, and how long they are remembered."""

import logging
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from json import dumps
from json import loads
from typing import Any

import pytest
from kubernetes.client import Configuration
from served import served

from service.broker.identity import PodIdentity
from service.broker.identity import ReviewUnavailable
from service.broker.kubernetes_reviewer import KubernetesReviewer
from service.broker.reviews import KNOWN_S
from service.broker.reviews import MOST_REMEMBERED
from service.broker.reviews import REFUSED_S
from service.broker.reviews import RememberingReviewer

TOKEN = "header.payload.signature"
POD = PodIdentity(
    namespace="temper-jobs", service_account="temper-job", pod_name="harden-a-1-x4k2z", pod_uid="uid-1"
)
GOOD: dict[str, Any] = {
    "authenticated": True,
    "audiences": ["temper-broker"],
    "user": {
        "username": "system:serviceaccount:temper-jobs:temper-job",
        "extra": {
            "authentication.kubernetes.io/pod-name": ["harden-a-1-x4k2z"],
            "authentication.kubernetes.io/pod-uid": ["uid-1"],
        },
    },
}


@contextmanager
def _api_server(answer: Callable[[dict[str, Any]], tuple[int, Any]]) -> Iterator[KubernetesReviewer]:
    """A server that answers TokenReviews as a test says, and the real client in front of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = loads(self.rfile.read(int(self.headers["content-length"])))
            status, body = answer(asked)
            data = dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{server.server_port}"
        yield KubernetesReviewer("temper-broker", configuration)


def _reviewed(status: dict[str, Any]) -> PodIdentity | None:
    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        assert asked["spec"] == {"token": TOKEN, "audiences": ["temper-broker"]}
        return 201, {**asked, "status": status}

    with _api_server(answer) as reviewer:
        return reviewer.review(TOKEN)


def test_a_pods_token() -> None:
    assert _reviewed(GOOD) == POD


@pytest.mark.parametrize(
    "changes",
    [
        {"authenticated": False},
        {"audiences": []},
        {"audiences": None},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"user": {**GOOD["user"], "username": "admin"}},
        {"user": {**GOOD["user"], "username": "system:serviceaccount:temper-jobs"}},
        {"user": {**GOOD["user"], "username": "system:node:temper-jobs:temper-job"}},
        {"user": {**GOOD["user"], "extra": None}},
        {"user": {**GOOD["user"], "extra": {"authentication.kubernetes.io/pod-name": ["x"]}}},
        {
            "user": {
                **GOOD["user"],
                "extra": {**GOOD["user"]["extra"], "authentication.kubernetes.io/pod-name": ["a", "b"]},
            }
        },
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_every_other_token_is_nobodys(changes: dict[str, Any]) -> None:
    assert _reviewed({**GOOD, **changes}) is None


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_an_api_server_that_refuses_lets_nobody_in(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusing = _api_server(lambda asked: (status, {"message": asked["spec"]["token"]}))
    with refusing as reviewer, pytest.raises(ReviewUnavailable, match=str(status)) as caught:
        reviewer.review(TOKEN)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text


def test_a_token_is_not_logged_however_much_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert _reviewed(GOOD) == POD
    assert TOKEN not in caplog.text


def test_an_api_server_that_is_not_there_lets_nobody_in() -> None:
    with _api_server(lambda _: (500, {})) as reviewer:
        pass
    with pytest.raises(ReviewUnavailable):
        reviewer.review(TOKEN)


# ---- remembering ----------------------------------------------------------------------------------


class _Counting:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, PodIdentity] = {TOKEN: POD}
        self.down = False

    def review(self, token: str) -> PodIdentity | None:
        self.asked.append(token)
        if self.down:
            raise ReviewUnavailable("down")
        return self.answers.get(token)


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def counting() -> _Counting:
    return _Counting()


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def reviewer(counting: _Counting, clock: _Clock) -> RememberingReviewer:
    return RememberingReviewer(counting, monotonic=clock)


def test_an_answer_is_remembered_for_a_short_time(
    reviewer: RememberingReviewer, counting: _Counting, clock: _Clock
) -> None:
    assert not reviewer.remembers(TOKEN)
    assert [reviewer.review(TOKEN) for _ in range(3)] == [POD] * 3
    assert len(counting.asked) == 1
    clock.now += KNOWN_S - 0.1
    assert reviewer.remembers(TOKEN)
    del counting.answers[TOKEN]  # the pod was deleted
    clock.now += 0.2
    assert reviewer.review(TOKEN) is None
    assert len(counting.asked) == 2


def test_a_refusal_is_remembered_for_a_shorter_one(
    reviewer: RememberingReviewer, counting: _Counting, clock: _Clock
) -> None:
    assert reviewer.review("other.other.other") is None
    assert reviewer.review("other.other.other") is None
    assert len(counting.asked) == 1
    counting.answers["other.other.other"] = POD
    clock.now += REFUSED_S + 0.1
    assert reviewer.review("other.other.other") == POD


def test_no_answer_is_not_remembered(reviewer: RememberingReviewer, counting: _Counting) -> None:
    counting.down = True
    with pytest.raises(ReviewUnavailable):
        reviewer.review(TOKEN)
    counting.down = False
    assert reviewer.review(TOKEN) == POD


def test_a_known_pod_goes_on_while_the_api_server_is_down(
    reviewer: RememberingReviewer, counting: _Counting, clock: _Clock
) -> None:
    reviewer.review(TOKEN)
    counting.down = True
    assert reviewer.review(TOKEN) == POD
    clock.now += KNOWN_S + 0.1
    with pytest.raises(ReviewUnavailable):
        reviewer.review(TOKEN)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c.d", "a.b.c\n", "a.é.c", "a.b." + "c" * 9000])
def test_what_is_no_token_is_not_asked_about(
    reviewer: RememberingReviewer, counting: _Counting, token: str
) -> None:
    assert reviewer.review(token) is None
    assert counting.asked == []


def test_memory_is_bounded_and_holds_no_token(reviewer: RememberingReviewer) -> None:
    for number in range(MOST_REMEMBERED + 10):
        reviewer.review(f"a.b.{number}")
    assert len(reviewer._known) == MOST_REMEMBERED
    assert all(len(digest) == 32 for digest in reviewer._known)
