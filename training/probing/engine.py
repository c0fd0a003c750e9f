"""The engine protocol: greedy completions of text prompts by model directories, and what both engines share."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final
from typing import Protocol

from deploy.contract.exit_codes import ExitCode
from deploy.contract.report import Engine as EngineDescription
from training.data.prompt import encode_prompt
from training.errors import PlatformFault

OnProgress = Callable[[int, str], None]
"""Told how many completions are done over all models, and what is happening. May raise, to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One completion. ``finished``: it ended with an end token and not at the limit of new tokens."""

    text: str
    finished: bool


UNANSWERED: Final = Generation(text="", finished=False)
"""In place of a completion that never came. Like any empty output it is unscorable: neither a hit nor a trial."""


class ProbeEngineError(PlatformFault):
    """The engine that generates completions failed."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.PROBE_ENGINE_FAILED, "probe_engine_failed", message)
        self.answers: list[list[Generation]] = []
        """What there was until then, in the form of :meth:`ProbeEngine.generate`, with :data:`UNANSWERED` for the
        rest; empty where nothing was answered."""

    def keep(self, answers: Sequence[Mapping[int, Generation]], prompts: int) -> None:
        """Remember what every model had answered, by the prompts' numbers from 0."""
        if any(answers):
            self.answers = in_order(answers, prompts)


class ProbingTimeUpError(ProbeEngineError):
    """The plan's time for probing is over."""


def in_order(answers: Sequence[Mapping[int, Generation]], prompts: int) -> list[list[Generation]]:
    """Every model's completions in the prompts' order."""
    return [[given.get(index, UNANSWERED) for index in range(prompts)] for given in answers]


class ProbeEngine(Protocol):
    """Greedy generation by models on disk."""

    def generate(
        self,
        models: Sequence[Path],
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        on_progress: OnProgress,
    ) -> list[list[Generation]]:
        """The completions of every prompt, in order, by every model, in order.

        Nothing that was started survives a return or an exception. A :class:`ProbeEngineError`, raised here or by
        ``on_progress``, carries what was answered before.

        Raises:
            ProbeEngineError: the engine could not start, died or stalled.
        """
        ...

    def describe(self, *, max_new_tokens: int) -> EngineDescription:
        """Name and version for the report."""
        ...


def fitted_prompts(
    tokenizer: Any, prompts: Iterable[str], *, context: int | None, max_new_tokens: int
) -> tuple[list[list[int]], int]:
    """Token ids of prompts, and the limit of new tokens, such that both fit into the model's context.

    A prompt that is too long loses its beginning, as in training. At least half of the context
    is left to prompts.
    """
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    if context is None:
        return encoded, max_new_tokens
    limit = max(1, min(max_new_tokens, context // 2))
    return [ids[-max(1, context - limit) :] for ids in encoded], limit


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of generated tokens, as a completions server returns it. Bytes that are no UTF-8 become U+FFFD."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def end_ids(tokenizer: Any, declared: int | Sequence[int] | None) -> list[int]:
    """Tokens that end a completion: the tokenizer's own and those that the model's generation config names."""
    named = [] if declared is None else [declared] if isinstance(declared, int) else list(declared)
    return sorted({int(tokenizer.eos_token_id), *map(int, named)})
