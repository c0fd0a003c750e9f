"""Servers that do wrong behind the real application, over real sockets."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from model_server import SECRET
from served_model import KEY
from served_model import ServedModel
from waiting import until

MIB = 1 << 20


class Ledger:
    """Reservations of tokens as the limits hand them out, all remembered."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.spent: list[int] = []

    async def reserve(self, project: str, tokens: int) -> "Entry":
        assert project == "default"
        self.open.append(tokens)
        return Entry(self, tokens)


class Entry:
    """One of them."""

    def __init__(self, ledger: Ledger, tokens: int) -> None:
        self.ledger, self.tokens = ledger, tokens

    def settle(self, spent: int) -> None:
        self.ledger.open.remove(self.tokens)
        self.ledger.spent.append(spent)


@pytest.fixture
def ledger(served_model: ServedModel) -> Ledger:
    served_model.app.state.allowance = ledger = Ledger()
    return ledger


def idle(model: ServedModel) -> None:
    """Nothing is asked of the server any more, and no place of it is taken."""
    until(lambda: not model.upstream.going_on, seconds=1.0)
    until(lambda: not model.app.state.usage._going_on, seconds=1.0)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# ---- J5 -------------------------------------------------------------------------------------------


DOES_WRONG = (
    *(
        (each, 502, "upstream_error")
        for each in ("500", "302", "401", "garbage", "null", "deep", "wrong model")
    ),
    *((each, 502, "upstream_error") for each in ("no choices", "no http")),
    ("400", 400, "upstream_refused"),
)


def test_j5_a_server_that_does_wrong_is_our_502_and_costs_nothing(
    served_model: ServedModel, ledger: Ledger
) -> None:
    for prompt, status, code in DOES_WRONG:
        answer = served_model.ask(prompt)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), prompt
        assert SECRET not in answer.text + str(answer.headers)
        assert (ledger.open, ledger.spent.pop()) == ([], 0)
        idle(served_model)


def test_j5_a_stream_that_goes_wrong_ends_with_an_error(served_model: ServedModel, ledger: Ledger) -> None:
    for prompt in ("garbage", "not json", "wrong model", "error", "no end", "after the end"):
        text = served_model.ask(prompt, stream=True).text
        last = text.strip().rpartition("\n\n")[2]
        assert last.startswith('data: {"error": {'), prompt
        assert '"code": "upstream_error"' in last
        assert SECRET not in text
        assert "another" not in text
        # What was counted before it went wrong was computed; otherwise it costs nothing.
        assert (ledger.open, ledger.spent.pop()) == ([], 8 if prompt == "after the end" else 0)
        idle(served_model)


@pytest.mark.parametrize("streamed", [False, True])
def test_j5_a_gigabyte_is_cut_in_bounded_memory(
    served_model: ServedModel, ledger: Ledger, streamed: bool
) -> None:
    served_model.ask("warm")
    before, most, watching = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not watching.wait(0.002):
            most[0] = max(most[0], resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = served_model.ask("gigabyte", stream=streamed)
    watching.set()
    watcher.join()
    assert "upstream_error" in answer.text
    assert answer.status_code == (200 if streamed else 502)
    # A whole answer may have 32 MiB, and doubles while its buffer grows; an event has one.
    assert most[0] - before < (20 if streamed else 100) * MIB
    assert ledger.open == []
    idle(served_model)


@pytest.mark.parametrize("streamed", [False, True])
def test_j5_a_server_that_says_nothing_is_given_up(
    make_served_model: Callable[..., ServedModel], streamed: bool
) -> None:
    model = make_served_model(TEMPER_INFERENCE_SILENCE_S="0.3")
    model.app.state.allowance = ledger = Ledger()
    answer = model.ask("hang", stream=streamed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
    assert ledger.spent == [0]
    if streamed:
        assert "upstream_timeout" in model.ask("silent", stream=True).text
        assert ledger.spent == [0, 0]
    idle(model)


@pytest.mark.parametrize("prompt", ["endless", "flood"])
def test_j5_an_answer_without_end_has_one_in_time(
    make_served_model: Callable[..., ServedModel], prompt: str
) -> None:
    model = make_served_model(TEMPER_INFERENCE_WHOLE_S="0.5")
    model.app.state.allowance = ledger = Ledger()
    began = time.monotonic()
    with model.client().stream("POST", "/v1/completions", json=body(prompt)) as answer:
        last = b""
        for chunk in answer.iter_raw():
            last = (last + chunk)[-2000:]
    assert time.monotonic() - began < 3.0
    assert b"inference_timeout" in last
    assert ledger.open == []
    assert ledger.spent[0] > 0, "whoever lets it compute for so long pays"
    idle(model)


def test_j5_a_slow_first_token_is_waited_for(served_model: ServedModel) -> None:
    assert served_model.ask("slow first", stream=True).text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("prompt", "spent"), [("fine", 8), ("mad usage", 30)])
def test_j5_a_good_answer_costs_what_the_server_counted(
    served_model: ServedModel, ledger: Ledger, prompt: str, spent: int
) -> None:
    assert served_model.ask(prompt, max_tokens=13).status_code == 200
    # A count that cannot be is not believed: it costs the most that it can come to.
    assert ledger.spent == [spent if prompt == "fine" else len(prompt) + 8 + 13]


def test_j5_a_stream_costs_what_was_counted_and_only_shows_it_when_asked(
    served_model: ServedModel, ledger: Ledger
) -> None:
    plain = served_model.ask("fine", stream=True).text
    shown = served_model.ask("fine", stream=True, stream_options={"include_usage": True}).text
    assert ledger.spent == [8, 8]
    assert '"choices": []' not in plain
    assert '"total_tokens": 8' in shown
    assert plain.count("data: ") == 4
    assert shown.count("data: ") == 5
    for asked in served_model.upstream.asked:
        assert asked.body["stream_options"] == {"include_usage": True}


# ---- J4 -------------------------------------------------------------------------------------------


def body(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, "stream": True, **more}


def test_j4_a_client_that_goes_ends_the_generation_and_pays_for_it(
    served_model: ServedModel, ledger: Ledger
) -> None:
    client = served_model.client()
    with client.stream("POST", "/v1/completions", json=body("endless", max_tokens=7)) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        assert "endless" in served_model.upstream.going_on
    began = time.monotonic()
    until(lambda: "endless" not in served_model.upstream.going_on, seconds=1.0)
    assert time.monotonic() - began < 1.0
    until(lambda: ledger.spent == [len("endless") + 8 + 7], seconds=1.0)
    idle(served_model)


def test_j4_a_client_that_goes_before_the_first_byte_ends_it_too(served_model: ServedModel) -> None:
    for streamed in (False, True):
        with pytest.raises(httpx.ReadTimeout):
            served_model.client(timeout=0.3).post("/v1/completions", json=body("hang", stream=streamed))
        idle(served_model)


def test_j4_a_client_that_stops_reading_holds_nothing_for_longer_than_allowed(
    make_served_model: Callable[..., ServedModel],
) -> None:
    model = make_served_model(TEMPER_INFERENCE_WHOLE_S="0.5")
    with model.client().stream("POST", "/v1/completions", json=body("flood")):
        until(lambda: "flood" in model.upstream.going_on, seconds=2.0)
        until(lambda: "flood" not in model.upstream.going_on, seconds=4.0)
        idle(model)


# ---- places ---------------------------------------------------------------------------------------


def test_j5_more_requests_than_a_server_has_places_are_told_to_come_again(
    make_served_model: Callable[..., ServedModel],
) -> None:
    model = make_served_model(TEMPER_INFERENCE_AT_ONCE="1")
    held = threading.Thread(target=model.ask, args=("hold",))
    held.start()
    until(lambda: "hold" in model.upstream.going_on, seconds=5.0)
    refused = model.ask("fine")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == "endpoint_requests_at_once_exceeded"
    model.upstream.released.set()
    held.join()
    assert model.ask("fine").status_code == 200


# ---- J7 -------------------------------------------------------------------------------------------

OURS = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type", "connection"}


def test_j7_nothing_of_the_clients_headers_goes_up_and_nothing_of_the_servers_comes_down(
    served_model: ServedModel,
) -> None:
    hostile = {
        "x-forwarded-for": "1.2.3.4",
        "cookie": "a=b",
        "connection": "x-internal, keep-alive",
        "x-internal": "1",
        "te": "trailers",
        "proxy-authorization": "Basic x",
        "openai-organization": "org",
        "traceparent": "00-" + "1" * 32 + "-" + "1" * 16 + "-01",
    }
    for streamed in (False, True):
        answer = served_model.client().post(
            "/v1/completions", json=body("fine", stream=streamed), headers=hostile
        )
        assert answer.status_code == 200
        assert SECRET not in str(answer.headers)
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-request-id"].startswith("req-")
    for asked in served_model.upstream.asked:
        assert set(asked.headers) <= OURS
        assert KEY not in str(asked)
        assert asked.line == "POST /v1/completions HTTP/1.1"
