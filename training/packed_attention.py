"""Causal attention over rows that are packed one after the other: no row sees another, nothing is padded.

Registered with transformers under a name of its own. Every model that takes its attention from that
registry and hands its keyword arguments down can be packed; :mod:`training.supervised_model` compares a
packed forward with a padded one before it relies on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

NAME = "temper_packed"
_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Attention variants whose arguments change the weights; a model that passes one is not packed."""


class NotPackable(Exception):  # noqa: N818
    """This model's attention needs something that packed rows do not have here."""


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Lengths of the rows that are packed, and where they begin on the device."""

    lengths: tuple[int, ...]
    offsets: torch.Tensor
    """[rows + 1] int32 cumulative lengths."""

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> "PackedRows":
        """From the lengths alone."""
        offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(lengths, offsets.to(device, non_blocking=True))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_rows: PackedRows | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **variant: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in transformers' form: [1, heads, T, size] in, [1, T, heads, size] out.

    Raises:
        NotPackable: the rows are unknown, or the model asks for a variant.
    """
    asked = [name for name in _UNSUPPORTED if variant.get(name) is not None]
    if packed_rows is None or attention_mask is not None or asked or not getattr(module, "is_causal", True):
        raise NotPackable(f"{type(module).__name__}: {', '.join(asked) or 'packed rows do not reach it'}")
    if query.is_cuda and query.dtype in {torch.bfloat16, torch.float16} and dropout == 0.0:
        return _on_cuda(query, key, value, packed_rows, scaling=scaling, window=sliding_window), None
    rows = (torch.split(tensor, list(packed_rows.lengths), dim=2) for tensor in (query, key, value))
    outputs = [
        _one_row(q, k, v, scaling=scaling, dropout=dropout, window=sliding_window)
        for q, k, v in zip(*rows, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _one_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> torch.Tensor:
    length = query.shape[2]
    mask: torch.Tensor | None = None
    if window is not None and length > window:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _on_cuda(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: PackedRows,
    *,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One kernel for all rows."""
    from torch.nn.attention.varlen import varlen_attn

    longest = max(rows.lengths)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output = varlen_attn(
        q,
        k,
        v,
        rows.offsets,
        rows.offsets,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, torch.Tensor)  # noqa: S101 - return_aux was not asked for
    return output[None]


@contextmanager
def packed(model: Any) -> Iterator[None]:
    """While it lasts (backward included: checkpointed layers run again there) the model attends to packed rows."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    config = model.config
    before = config._attn_implementation
    # On the config alone: set_attn_implementation walks all modules, far too slow for every step.
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
