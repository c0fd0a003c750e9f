"""Requests of inference: what is refused, and what a server would get."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from service.inference.chat import ChatStream
from service.inference.chat import chat_of
from service.inference.events import BadUpstream
from service.inference.schemas import ChatCompletion
from service.inference.schemas import Completion

NOT_TAKEN: dict[str, Any] = {
    "top_p": 0,
    "stream_options": {"include_usage": True},
    "seed": -1,
    "presence_penalty": 3,
}


@pytest.mark.parametrize("field", sorted(NOT_TAKEN))
def test_what_is_out_of_bounds_is_refused_by_name(api: TestClient, field: str) -> None:
    answer = api.post("/v1/completions", json={"model": "m", "prompt": "x", field: NOT_TAKEN[field]})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert field in f"{error['param']} {error['message']}"


@pytest.mark.parametrize("extra", [{"echo": True}, {"logprobs": 6}, {"prompt": [1, 2]}, {"prompt": [[1]]}])
def test_plain_completions_have_limits_of_their_own(api: TestClient, extra: dict[str, Any]) -> None:
    answer = api.post("/v1/completions", json={"model": "m", "prompt": "x", **extra})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(next(iter(extra)))


def test_an_unknown_model_is_not_found(api: TestClient) -> None:
    answer = api.post("/v1/completions", json={"model": "nope", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_only_what_was_set_goes_to_the_server() -> None:
    body = Completion.model_validate_json(b'{"model":"m","prompt":"p","user":"u","top_p":0.5,"stop":["a"]}')
    assert body.upstream() == {"model": "m", "prompt": "p", "top_p": 0.5, "stop": ["a"], "max_tokens": 16}


def test_a_chat_becomes_the_prompt_that_training_saw() -> None:
    chat = ChatCompletion.model_validate_json(
        b'{"model":"m","messages":[{"role":"user","content":"p"}],"max_completion_tokens":5,'
        b'"max_tokens":9,"logprobs":true,"top_logprobs":2}'
    )
    assert chat.upstream("p") == {"model": "m", "prompt": "p", "max_tokens": 5, "logprobs": 2}


def completion(**choice: Any) -> dict[str, Any]:
    one = {"index": 0, "text": "hi", "finish_reason": "stop", "logprobs": None, **choice}
    return {"id": "cmpl-7", "created": 1, "model": "m", "choices": [one], "usage": {"total_tokens": 1}}


def test_logprobs_change_their_form() -> None:
    plain = {"tokens": ["hi"], "token_logprobs": [-0.5], "top_logprobs": [{"hi": -0.5, "ho": -1.0}]}
    shown = chat_of(completion(logprobs=plain))["choices"][0]["logprobs"]["content"][0]
    assert (shown["token"], shown["logprob"], shown["bytes"]) == ("hi", -0.5, [104, 105])
    assert [top["token"] for top in shown["top_logprobs"]] == ["hi", "ho"]


def chat_stream() -> ChatStream:
    return ChatStream(model="m", show_usage=False)


@pytest.mark.parametrize("bad", [None, [], {}, {"choices": [1]}, completion(text=5), {"choices": None}])
def test_what_is_no_completion_is_the_servers_fault(bad: Any) -> None:
    with pytest.raises(BadUpstream):
        chat_of(bad)


def test_a_stream_may_be_cut_anywhere_between_chunks() -> None:
    import json

    events = b"".join(b"data: " + json.dumps(completion(text=t)).encode() + b"\n\n" for t in "abc")
    events += b": comment\n\ndata: [DONE]\n\n"
    whole = chat_stream().feed(events)
    for size in (1, 7, 100):
        stream = chat_stream()
        parts = [stream.feed(events[at : at + size]) for at in range(0, len(events), size)]
        assert b"".join(parts) == whole
        assert stream.done
    assert whole.count(b'"role"') == 1


@pytest.mark.parametrize("bad", [b"garbage\n", b"data: {\n", b"data: []\n", b"data: 1\n", b"x" * (1 << 21)])
def test_garbage_in_a_stream_is_noticed_in_bounded_memory(bad: bytes) -> None:
    with pytest.raises(BadUpstream):
        chat_stream().feed(bad)
