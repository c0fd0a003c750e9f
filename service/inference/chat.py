"""Chat on top of plain completions. Pure: documents and bytes in, documents and bytes out.

A model is trained on prompts made by :mod:`deploy.contract.dataset.chat`, so it is asked in that form, whatever template its tokenizer may carry.
"""

import json
from collections.abc import Iterator
from typing import Any
from typing import Final

from deploy.contract.dataset import prompt_text
from deploy.contract.dataset import render_prompt
from service.inference.schemas import ChatCompletion

MAX_EVENT_BYTES: Final = 1 << 20
"""Of one server-sent event; a completion's chunk has some hundred bytes."""


class BadUpstream(Exception):  # noqa: N818 - a fact about the server
    """The model server sent something that is not a completion."""


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


class ChatStream:
    """Turns the server-sent events of a completion into those of a chat, event by event."""

    def __init__(self) -> None:
        self._pending = b""
        self._begun: set[int] = set()
        self.done = False
        """The last event has been seen."""

    def feed(self, data: bytes) -> bytes:
        """The events that ``data`` completes. Raises BadUpstream; holds at most one event in memory."""
        self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        if len(self._pending) > MAX_EVENT_BYTES:
            raise BadUpstream("an event without an end")
        return b"".join(self._translate(line) for line in lines)

    def _translate(self, line: bytes) -> bytes:
        line = line.strip()
        if not line or line.startswith(b":"):
            return b""
        if not line.startswith(b"data:") or len(line) > MAX_EVENT_BYTES:
            raise BadUpstream("not a server-sent event")
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self.done = True
            return sse(b"[DONE]")
        try:
            chunk = json.loads(payload)
            return b"".join(sse(json.dumps(each).encode()) for each in self._chunks(chunk))
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise BadUpstream("not a completion's chunk") from error

    def _chunks(self, chunk: Any) -> Iterator[dict[str, Any]]:
        if "error" in chunk:
            raise BadUpstream(str(chunk["error"].get("message", ""))[:500])
        head = _head(chunk, "chat.completion.chunk")
        choices = [self._choice(choice) for choice in chunk["choices"]]
        yield {**head, "choices": choices, **({"usage": chunk["usage"]} if chunk.get("usage") else {})}

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


def sse(payload: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + payload + b"\n\n"
