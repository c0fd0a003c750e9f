"""What a client may ask of a model. Nothing else reaches a server: bodies are rebuilt from these."""

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import model_validator

from deploy.contract.document import Document

MAX_CHOICES = 4
MAX_STOPS = 4
MAX_TEXT_CHARS = 1 << 19
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]
COMPLETION_TOKENS = 16
"""Where the client sets no limit: OpenAI's own figure for plain completions."""
CHAT_TOKENS = 1024
"""For chats there is no such figure; a request has to have a bound, and this one holds a function with its comments."""
PROMPT_FRAME_TOKENS = 8
"""Marks of beginning and end that a tokenizer may add to a prompt."""
TokenCount = Annotated[int, Field(ge=1, le=131_072)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]


class StreamOptions(Document):
    """Body of ``stream_options``."""

    include_usage: bool = False


class Sampling(Document):
    """What both kinds of completion take."""

    model: ModelName
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | Annotated[tuple[Stop, ...], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    """Accepted, for clients send it; never forwarded."""

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream to be true")
        return self

    @property
    def show_usage(self) -> bool:
        """Whether the client asked for the last event of a stream, which counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> dict[str, Any]:
        """The members that are set, as a server takes them. A stream is always asked for its count of tokens."""
        left_out = {"user", "stream_options"}
        members = self.model_dump(
            mode="json", include=set(Sampling.model_fields) - left_out, exclude_none=True
        )
        return {**members, "stream_options": {"include_usage": True}} if self.stream else members

    def most_tokens(self, prompts: Sequence[str], max_tokens: int) -> int:
        """The most that this can come to, of prompts and completions together: no token is less than a byte."""
        prompted = sum(len(prompt.encode()) + PROMPT_FRAME_TOKENS for prompt in prompts)
        return prompted + max_tokens * (self.n or 1) * len(prompts)


class Completion(Sampling):
    """Body of ``POST /v1/completions``."""

    prompt: Text | Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)]
    max_tokens: TokenCount | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Literal[False] | None = None

    def upstream(self) -> dict[str, Any]:
        """The body that the server gets."""
        own = self.model_dump(mode="json", include={"prompt", "logprobs"}, exclude_none=True)
        return {**self.sampling(), **own, "max_tokens": self.max_tokens or COMPLETION_TOKENS}

    @property
    def tokens(self) -> int:
        """The most that this can come to."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return self.most_tokens(prompts, self.max_tokens or COMPLETION_TOKENS)


class TextPart(Document):
    """One part of a message's content; there is no other kind than text."""

    type: Literal["text"]
    text: Text


class Message(Document):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[tuple[TextPart, ...], Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(max_length=64)] | None = None
    """Accepted, for clients send it; a prompt made by our rule has no names."""

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatCompletion(Sampling):
    """Body of ``POST /v1/chat/completions``."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=2048)]
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @model_validator(mode="after")
    def _top_logprobs_need_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self

    @property
    def limit(self) -> int:
        """Tokens of each choice."""
        return self.max_completion_tokens or self.max_tokens or CHAT_TOKENS

    def upstream(self, prompt: str) -> dict[str, Any]:
        """The plain completion that answers this chat: the model was trained on plain prompts."""
        body: dict[str, Any] = {**self.sampling(), "prompt": prompt, "max_tokens": self.limit}
        if self.logprobs:
            body["logprobs"] = self.top_logprobs or 0
        return body
