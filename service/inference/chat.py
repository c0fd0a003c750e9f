"""Chat on top of plain completions. Pure: documents and bytes in, documents and bytes out.

A model is trained on prompts made by :mod:`deploy.contract.dataset.chat`, so it is asked in that form, whatever template its tokenizer may carry.
"""

import json
from typing import Any

from deploy.contract.dataset import prompt_text
from deploy.contract.dataset import render_prompt
from service.inference.events import BadUpstream
from service.inference.events import EventStream
from service.inference.schemas import ChatCompletion


def prompt_of(chat: ChatCompletion) -> str:
    """The plain prompt of a chat."""
    return prompt_text(render_prompt([message.text for message in chat.messages]))


def chat_of(completion: Any) -> dict[str, Any]:
    """The chat form of a completion. Raises BadUpstream."""
    try:
        choices = [
            {
                "index": choice["index"],
                "message": {"role": "assistant", "content": _text(choice), "refusal": None},
                "logprobs": _logprobs(choice.get("logprobs")),
                "finish_reason": choice["finish_reason"],
            }
            for choice in completion["choices"]
        ]
        return {**_head(completion, "chat.completion"), "choices": choices, "usage": completion.get("usage")}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise BadUpstream("not a completion") from error


def _head(completion: Any, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-" + str(completion["id"]).removeprefix("cmpl-"),
        "object": kind,
        "created": completion["created"],
        "model": completion["model"],
    }


def _text(choice: Any) -> str:
    text = choice["text"]
    if not isinstance(text, str):
        raise TypeError("text")
    return text


def _logprobs(plain: Any) -> dict[str, Any] | None:
    """From lists by kind to a list by token."""
    if plain is None:
        return None
    tops = plain.get("top_logprobs") or [{} for _ in plain["tokens"]]
    content = [
        {**_token(token, logprob), "top_logprobs": [_token(*pair) for pair in (top or {}).items()]}
        for token, logprob, top in zip(plain["tokens"], plain["token_logprobs"], tops, strict=True)
    ]
    return {"content": content, "refusal": None}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}


class ChatStream(EventStream):
    """Turns the events of a completion into those of a chat."""

    def __init__(self, *, model: str, show_usage: bool) -> None:
        super().__init__(model=model, show_usage=show_usage)
        self._begun: set[int] = set()

    def _shown(self, payload: bytes, chunk: Any) -> bytes:
        del payload
        choices = [self._choice(choice) for choice in chunk["choices"]]
        usage = {"usage": chunk["usage"]} if chunk.get("usage") else {}
        return json.dumps({**_head(chunk, "chat.completion.chunk"), "choices": choices, **usage}).encode()

    def _choice(self, choice: Any) -> dict[str, Any]:
        index = choice["index"]
        delta: dict[str, Any] = {"content": _text(choice)}
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(choice.get("logprobs")),
            "finish_reason": choice.get("finish_reason"),
        }
