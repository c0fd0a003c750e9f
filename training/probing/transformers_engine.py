"""Greedy generation with transformers: for live models (the curves) and for what vLLM does not serve.

A loop of our own: a model's ``generation_config`` may carry repetition penalties or sampling, and the
library merges them into what it is given. Legend: B rows, T tokens, V vocabulary.
"""

import gc
import inspect
from collections.abc import Callable
from collections.abc import Sequence
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
    on_batch: Callable[[int], None] | None = None,
    written: dict[int, Generation] | None = None,
) -> list[Generation]:
    """Complete prompts greedily. Leaves the model in the mode (training or evaluation) that it was in.

    Args:
        model: a decoder-only or encoder-decoder model of transformers, possibly under an adapter.
        tokenizer: the model's tokenizer.
        prompts: texts, in the form of :mod:`training.data.prompt`.
        max_new_tokens: per completion.
        batch_size: prompts at a time, of similar length.
        on_batch: told the number of completions done after every batch. May raise, to stop.
        written: filled after every batch, by the prompts' numbers from 0, for a caller that stops.

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
            batch = _complete(model, tokenizer, [encoded[index] for index in some], ends=ends, limit=limit)
            written.update(zip(some, batch, strict=True))
            if on_batch is not None:
                on_batch(len(written))
    finally:
        model.train(was_training)
    return [written[index] for index in range(len(encoded))]


@torch.no_grad()
def _complete(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, ends: Sequence[int], limit: int
) -> list[Generation]:
    fill = ends[0]
    width = max(len(ids) for ids in prompts)
    # Left padding: the next token of every row is at the last position.
    ids_BT = torch.tensor([[fill] * (width - len(ids)) + list(ids) for ids in prompts], device=model.device)  # noqa: N806
    mask_BT = torch.tensor(  # noqa: N806
        [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device
    )
    tokens = (
        _encoder_decoder_tokens if getattr(model.config, "is_encoder_decoder", False) else _decoder_tokens
    )(model, ids_BT, mask_BT, limit)
    ends_E = torch.tensor(ends, device=model.device)  # noqa: N806
    ended_B = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)  # noqa: N806
    columns: list[torch.Tensor] = []
    for next_B in tokens:  # noqa: N806
        columns.append(next_B)
        ended_B |= torch.isin(next_B, ends_E)  # noqa: N806
        if bool(ended_B.all()):
            break
    return [_generation(tokenizer, row, ends) for row in torch.stack(columns, dim=1).tolist()]


def _generation(tokenizer: Any, row: Sequence[int], ends: Sequence[int]) -> Generation:
    stop = next((index for index, token in enumerate(row) if token in ends), None)
    return Generation(text=decode(tokenizer, row[:stop]), finished=stop is not None)


def _decoder_tokens(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, limit: int) -> Any:  # noqa: N803
    """Yield the next token of every row, ``limit`` times: [B] each."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes_positions = "position_ids" in inspect.signature(plain.forward).parameters
    cache = None
    for _ in range(limit):
        inputs: dict[str, Any] = {"input_ids": ids_BT, "attention_mask": mask_BT, "past_key_values": cache}
        if takes_positions:
            positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)  # noqa: N806
            inputs["position_ids"] = positions_BT[:, -ids_BT.shape[1] :]
        output = model(**inputs, use_cache=True)
        cache = output.past_key_values
        next_B = output.logits[:, -1].argmax(dim=-1)  # noqa: N806
        yield next_B
        ids_BT = next_B[:, None]  # noqa: N806
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_BT)], dim=1)  # noqa: N806


def _encoder_decoder_tokens(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, limit: int) -> Any:  # noqa: N803
    """As :func:`_decoder_tokens`; the encoder reads the prompt once."""
    encoded = model.get_encoder()(input_ids=ids_BT, attention_mask=mask_BT)
    cache = None
    next_BT = torch.full_like(ids_BT[:, :1], model.config.decoder_start_token_id)  # noqa: N806
    for _ in range(limit):
        output = model(
            encoder_outputs=encoded,
            attention_mask=mask_BT,
            decoder_input_ids=next_BT,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        next_B = output.logits[:, -1].argmax(dim=-1)  # noqa: N806
        yield next_B
        next_BT = next_B[:, None]  # noqa: N806


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
