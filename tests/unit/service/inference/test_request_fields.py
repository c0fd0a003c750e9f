"""What vLLM would take and no client of ours may send, field by field, over a real socket."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_model import ServedModel

from service.body import parse_body
from service.errors import BadRequest
from service.inference.schemas import MAX_TEXT_CHARS
from service.inference.schemas import ChatCompletion
from service.inference.schemas import Completion

PLAIN = "/v1/completions"
CHAT = "/v1/chat/completions"
GOOD: dict[str, dict[str, Any]] = {
    PLAIN: {"model": "tiny", "prompt": "fine"},
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "fine"}]},
}
SCHEMAS: dict[str, type[Completion] | type[ChatCompletion]] = {PLAIN: Completion, CHAT: ChatCompletion}
SHARED = set(
    [
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "cache_salt",
        "ec_transfer_params",
        "echo",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "kv_transfer_params",
        "length_penalty",
        "logit_bias",
        "logprob_token_ids",
        "logprobs",
        "max_tokens",
        "min_p",
        "min_tokens",
        "mm_payload",
        "model",
        "n",
        "presence_penalty",
        "priority",
        "prompt_logprobs",
        "repetition_detection",
        "repetition_penalty",
        "request_id",
        "response_format",
        "return_mm_kwargs",
        "return_token_ids",
        "return_token_offsets",
        "return_tokens_as_token_ids",
        "routed_experts_prompt_start",
        "seed",
        "session_id",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop",
        "stop_token_ids",
        "stream",
        "stream_interval",
        "stream_options",
        "structured_outputs",
        "temperature",
        "thinking_token_budget",
        "top_k",
        "top_p",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_beam_search",
        "user",
        "vllm_xargs",
        "watermarking",
    ]
)
VLLM_TAKES: dict[str, set[str]] = {
    PLAIN: SHARED | {"prompt", "prompt_embeds", "suffix"},
    CHAT: SHARED
    | set(
        [
            "add_generation_prompt",
            "chat_template",
            "chat_template_kwargs",
            "continue_final_message",
            "documents",
            "include_reasoning",
            "max_completion_tokens",
            "media_io_kwargs",
            "messages",
            "mm_processor_kwargs",
            "parallel_tool_calls",
            "reasoning_effort",
            "return_prompt_text",
            "tool_choice",
            "tools",
            "top_logprobs",
        ]
    ),
}
"""Of the pinned vLLM; a test in the slow lane compares them with what is installed."""
EARLIER = set(
    [
        "best_of",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "guided_decoding_backend",
        "lora_request",
        "functions",
        "function_call",
        "audio",
        "modalities",
        "mm_data",
        "images",
        "trust_remote_code",
        "model_path",
        "extra_body",
        "logits_processors",
    ]
)
"""Of earlier versions, of OpenAI, and of whoever guesses."""
WE_TAKE: dict[str, set[str]] = {
    PLAIN: set(
        [
            "model",
            "prompt",
            "temperature",
            "top_p",
            "n",
            "stop",
            "stream",
            "stream_options",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "user",
            "max_tokens",
            "logprobs",
            "echo",
        ]
    ),
    CHAT: set(
        [
            "model",
            "messages",
            "temperature",
            "top_p",
            "n",
            "stop",
            "stream",
            "stream_options",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "user",
            "max_tokens",
            "max_completion_tokens",
            "logprobs",
            "top_logprobs",
        ]
    ),
}


@pytest.mark.parametrize("route", [PLAIN, CHAT])
def test_j2_the_list_of_what_is_taken_is_closed(route: str) -> None:
    assert set(SCHEMAS[route].model_fields) == WE_TAKE[route]


@pytest.mark.parametrize("route", [PLAIN, CHAT])
def test_j2_every_other_field_of_vllm_is_refused_by_name_and_goes_nowhere(
    served_model: ServedModel, route: str
) -> None:
    client = served_model.client()
    for field in sorted((VLLM_TAKES[route] | EARLIER) - WE_TAKE[route]):
        answer = client.post(route, json={**GOOD[route], field: 1})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", field)
        others: tuple[Any, ...] = (None, "x", [], {}, True)
        for value in others:
            with pytest.raises(BadRequest):
                parse_body(json.dumps({**GOOD[route], field: value}).encode(), SCHEMAS[route])
    assert served_model.upstream.asked == []
    assert client.post(route, json=GOOD[route]).status_code == 200


@pytest.mark.parametrize("route", [PLAIN, CHAT])
@given(name=st.text(min_size=1, max_size=30))
def test_j2_no_other_name_is_taken(route: str, name: str) -> None:
    if name in WE_TAKE[route]:
        return
    with pytest.raises(BadRequest):
        parse_body(json.dumps({**GOOD[route], name: 1}).encode(), SCHEMAS[route])


@pytest.mark.parametrize(
    "hidden",
    [
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"messages": [{"role": "user", "content": "x", "tool_calls": []}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}],
                }
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "uuid": "1"}]}]},
    ],
    ids=range(6),
)
def test_j2_nothing_is_hidden_inside_of_what_is_taken(
    served_model: ServedModel, hidden: dict[str, Any]
) -> None:
    answer = served_model.client().post(CHAT, json={**GOOD[CHAT], **hidden})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(next(reversed(hidden)))
    assert served_model.upstream.asked == []


def test_j2_what_goes_up_is_built_here(served_model: ServedModel) -> None:
    everything = {
        "temperature": 0.5,
        "top_p": 0.5,
        "n": 2,
        "stop": ["a"],
        "stream": False,
        "seed": 1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "max_tokens": 3,
    }
    client = served_model.client()
    assert client.post(
        PLAIN, json={**GOOD[PLAIN], **everything, "user": "me", "logprobs": 2, "echo": False}
    ).is_success
    chat = {"user": "me", "logprobs": True, "top_logprobs": 2, "max_completion_tokens": 3}
    assert client.post(CHAT, json={**GOOD[CHAT], **everything, **chat}).is_success
    plain, chatted = (asked.body for asked in served_model.upstream.asked)
    assert plain == {"model": "tiny", "prompt": "fine", "logprobs": 2, **everything}
    assert chatted == {**plain, "prompt": "fine\n"}


TOO_MUCH: dict[str, list[dict[str, Any]]] = {
    PLAIN: [
        {"n": 5},
        {"n": 0},
        {"max_tokens": 131_073},
        {"max_tokens": 0},
        {"stop": ["a"] * 5},
        {"stop": "a" * 257},
        {"stop": ""},
        {"prompt": "a" * (MAX_TEXT_CHARS + 1)},
        {"prompt": ["a"] * 65},
        {"prompt": []},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1]]},
        {"logprobs": 6},
        {"temperature": 2.1},
        {"seed": 2**63},
        {"user": "a" * 513},
    ],
    CHAT: [
        {"n": 5},
        {"max_tokens": 131_073},
        {"max_completion_tokens": 131_073},
        {"stop": ["a"] * 5},
        {"messages": []},
        {"messages": [{"role": "user", "content": "x"}] * 2049},
        {"messages": [{"role": "user", "content": "a" * (MAX_TEXT_CHARS + 1)}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 65}]},
        {"logprobs": True, "top_logprobs": 6},
    ],
}


@pytest.mark.parametrize("route", [PLAIN, CHAT])
def test_j3_more_than_allowed_is_refused_by_name_and_goes_nowhere(
    served_model: ServedModel, route: str
) -> None:
    client = served_model.client()
    for more in TOO_MUCH[route]:
        answer = client.post(route, json={**GOOD[route], **more})
        assert answer.status_code == 400, more
        assert answer.json()["error"]["param"].startswith(next(reversed(more)))
    assert served_model.upstream.asked == []


def test_j3_more_bytes_than_a_body_may_have_are_refused(served_model: ServedModel) -> None:
    answer = served_model.ask("a" * (2 << 20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert served_model.upstream.asked == []


@given(
    prompts=st.lists(st.text(min_size=1, max_size=50), min_size=1, max_size=4),
    n=st.integers(1, 4),
    max_tokens=st.integers(1, 1000),
)
def test_j3_what_is_reserved_is_the_most_that_it_can_come_to(
    prompts: list[str], n: int, max_tokens: int
) -> None:
    asked = Completion(model="m", prompt=tuple(prompts), n=n, max_tokens=max_tokens)
    bytes_ = sum(len(prompt.encode()) for prompt in prompts)
    assert asked.tokens >= bytes_ + n * len(prompts) * max_tokens


def test_j3_who_sets_no_limit_gets_one(served_model: ServedModel) -> None:
    client = served_model.client()
    client.post(PLAIN, json=GOOD[PLAIN]).raise_for_status()
    client.post(CHAT, json=GOOD[CHAT]).raise_for_status()
    assert [asked.body["max_tokens"] for asked in served_model.upstream.asked] == [16, 1024]


PRINT_FIELDS = """
import json
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
print(json.dumps([sorted(each.model_fields) for each in (CompletionRequest, ChatCompletionRequest)]))
"""


@pytest.mark.slow
@pytest.mark.vllm
def test_j2_the_list_is_that_of_the_installed_vllm() -> None:
    # In a process of its own: what it imports warns, and warnings are errors here.
    ended = subprocess.run([sys.executable, "-c", PRINT_FIELDS], capture_output=True, text=True, check=True)
    plain, chat = json.loads(ended.stdout.splitlines()[-1])
    assert set(plain) == VLLM_TAKES[PLAIN]
    assert set(chat) == VLLM_TAKES[CHAT]
