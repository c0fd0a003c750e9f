"""Greedy generation with transformers: for live models (the curves) and for what vLLM does not serve.

A loop of our own: a model's ``generation_config`` may carry repetition penalties or sampling, and the
library merges them into what it is given. Legend: B rows, T tokens, V vocabulary.
"""

import gc
import inspect
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from deploy.contract.report import Engine as EngineDescription
from training.model import load_model
from training.probing.engine import Generation
from training.probing.engine import OnProgress
from training.probing.engine import ProbeEngineError
from training.probing.engine import decode
from training.probing.engine import end_ids
from training.probing.engine import fitted_prompts
from training.probing.engine import in_order

BATCH_SIZE = 64


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda done: None,
    written: dict[int, Generation] | None = None,
    agree: Callable[[torch.Tensor], torch.Tensor] = lambda tokens: tokens,
) -> list[Generation]:
    """Complete prompts greedily. Leaves the model in the mode (training or evaluation) that it was in.

    Args:
        model: a decoder-only or encoder-decoder model of transformers, possibly under an adapter.
        tokenizer: the model's tokenizer.
        prompts: texts, in the form of :mod:`training.data.prompt`.
        max_new_tokens: per completion.
        batch_size: prompts at a time, of similar length.
        on_batch: told the number of completions done after every batch, and between its tokens that nothing was added.
            May raise, to stop: a batch of thousands of tokens takes longer than anybody waits for a job to stop.
        written: filled after every batch, by the prompts' numbers from 0, for a caller that stops.
        agree: given every step's tokens, says which are taken: processes that share a sharded model write the same.

    Returns:
        One generation per prompt, in the prompts' order.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    encoded, limit = fitted_prompts(tokenizer, prompts, context=context, max_new_tokens=max_new_tokens)
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = end_ids(tokenizer, declared)
    # Longest first: a batch that does not fit into memory fails at once, not after an hour.
    order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
    written = {} if written is None else written
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            batch = _complete(
                model,
                tokenizer,
                [encoded[index] for index in some],
                ends=ends,
                limit=limit,
                on_token=partial(on_batch, len(written)),
                agree=agree,
            )
            written.update(zip(some, batch, strict=True))
            on_batch(len(written))
    finally:
        model.train(was_training)
    return [written[index] for index in range(len(encoded))]


@torch.no_grad()
def _complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    limit: int,
    on_token: Callable[[], None],
    agree: Callable[[torch.Tensor], torch.Tensor],
) -> list[Generation]:
    fill = ends[0]
    width = max(len(ids) for ids in prompts)
    # Left padding: the next token of every row is at the last position.
    ids_BT = torch.tensor([[fill] * (width - len(ids)) + list(ids) for ids in prompts], device=model.device)  # noqa: N806
    mask_BT = torch.tensor(  # noqa: N806
        [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device
    )
    kind = _EncoderDecoder if getattr(model.config, "is_encoder_decoder", False) else _Decoder
    writer = kind(model, ids_BT, mask_BT)
    ends_E = torch.tensor(ends, device=model.device)  # noqa: N806
    live = list(range(len(prompts)))
    written: list[list[int]] = [[] for _ in prompts]
    for _ in range(limit):
        next_K = writer.step(agree)  # noqa: N806
        on_token()
        for at, token in zip(live, next_K.tolist(), strict=True):
            written[at].append(token)
        going = (~torch.isin(next_K, ends_E)).nonzero().flatten()
        if len(going) == 0:
            break
        if len(going) < len(live):
            # What has ended is not written on: the longest completion would cost as much as all of them.
            writer.keep(going)
            live = [live[index] for index in going.tolist()]
    return [_generation(tokenizer, tokens, ends) for tokens in written]


def _generation(tokenizer: Any, row: Sequence[int], ends: Sequence[int]) -> Generation:
    stop = next((index for index, token in enumerate(row) if token in ends), None)
    return Generation(text=decode(tokenizer, row[:stop]), finished=stop is not None)


class _Decoder:
    """Writes the next token of every row, one forward a step. Legend: K rows that are still being written."""

    def __init__(self, model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> None:  # noqa: N803
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes_positions = "position_ids" in inspect.signature(plain.forward).parameters
        self._model = model
        self._ids_KT = ids_BT
        self._mask_KT = mask_BT
        self._cache: Any = None

    def step(self, agree: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The next tokens, [K]."""
        inputs: dict[str, Any] = {
            "input_ids": self._ids_KT,
            "attention_mask": self._mask_KT,
            "past_key_values": self._cache,
        }
        if self._takes_positions:
            positions_KT = (self._mask_KT.cumsum(dim=1) - 1).clamp(min=0)  # noqa: N806
            inputs["position_ids"] = positions_KT[:, -self._ids_KT.shape[1] :]
        output = self._model(**inputs, use_cache=True)
        self._cache = output.past_key_values
        next_K = agree(output.logits[:, -1].argmax(dim=-1))  # noqa: N806
        self._ids_KT = next_K[:, None]
        self._mask_KT = torch.cat([self._mask_KT, torch.ones_like(self._ids_KT)], dim=1)
        return next_K

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._ids_KT, self._mask_KT = self._ids_KT[rows], self._mask_KT[rows]
        self._cache.batch_select_indices(rows)


class _EncoderDecoder:
    """As :class:`_Decoder`; the encoder reads the prompt once."""

    def __init__(self, model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> None:  # noqa: N803
        self._model = model
        self._encoded = model.get_encoder()(input_ids=ids_BT, attention_mask=mask_BT)
        self._mask_KT = mask_BT
        self._cache: Any = None
        self._next_K1 = torch.full_like(ids_BT[:, :1], model.config.decoder_start_token_id)

    def step(self, agree: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The next tokens, [K]."""
        output = self._model(
            encoder_outputs=self._encoded,
            attention_mask=self._mask_KT,
            decoder_input_ids=self._next_K1,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        next_K = agree(output.logits[:, -1].argmax(dim=-1))  # noqa: N806
        self._next_K1 = next_K[:, None]
        return next_K

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._encoded.last_hidden_state = self._encoded.last_hidden_state[rows]
        self._mask_KT, self._next_K1 = self._mask_KT[rows], self._next_K1[rows]
        self._cache.batch_select_indices(rows)


class TransformersEngine:
    """Loads one model directory after the other."""

    def generate(
        self, models: Sequence[Path], prompts: Sequence[str], *, max_new_tokens: int, on_progress: OnProgress
    ) -> list[list[Generation]]:
        """See :class:`training.probing.engine.ProbeEngine`."""
        answers: list[dict[int, Generation]] = [{} for _ in models]
        try:
            for index, (path, written) in enumerate(zip(models, answers, strict=True)):
                before = index * len(prompts)
                self._by_one(path, prompts, max_new_tokens, _after(before, on_progress), written)
        except ProbeEngineError as error:
            error.keep(answers, len(prompts))
            raise
        return in_order(answers, len(prompts))

    def _by_one(
        self,
        path: Path,
        prompts: Sequence[str],
        max_new_tokens: int,
        on_batch: Callable[[int], None],
        written: dict[int, Generation],
    ) -> None:
        loaded = load_model(path)
        try:
            generate(
                loaded.model,
                loaded.tokenizer,
                prompts,
                max_new_tokens=max_new_tokens,
                on_batch=on_batch,
                written=written,
            )
        finally:
            del loaded
            gc.collect()

    def describe(self, *, max_new_tokens: int) -> EngineDescription:
        """See :class:`training.probing.engine.ProbeEngine`."""
        import transformers

        return EngineDescription(
            name="transformers", version=transformers.__version__, max_new_tokens=max_new_tokens
        )


def _after(before: int, on_progress: OnProgress) -> Callable[[int], None]:
    return lambda done: on_progress(before + done, "generating with transformers")
