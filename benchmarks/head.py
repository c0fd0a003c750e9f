"""The head and its loss, forward and backward: the part of a step that DeCE decides the price of."""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from benchmarks.artifact import artifact_dece
from benchmarks.compiled_rows import CompiledDeceRows
from training.losses import linear_dece
from training.losses import over_hidden
from training.losses.chunk import rows_per_chunk
from training.losses.logits import logits_
from training.losses.supervised import IGNORE_INDEX

ALPHA = 0.8
LABEL_SMOOTHING = 0.05
PAD = 0
"""The artifact's ignored target must be a class; no row here has it."""
SUPERVISED_EVERY = 6
"""One row in six is supervised when the artifact's rows of 512 tokens are filled with Lyra: 16.6 %."""
LINEAR_CROSS_ENTROPY_CHUNK = 256
"""torch's own choice was four times slower on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """Rows, width and classes."""

    rows: int
    hidden: int
    classes: int


FULL = HeadShape(rows=4096, hidden=512, classes=32768)
QUICK = HeadShape(rows=512, hidden=128, classes=8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInput:
    """What every variant gets; gradients are left on the leaves."""

    hidden_NH: torch.Tensor
    weight_VH: torch.Tensor
    targets_N: torch.Tensor
    sparse_targets_N: torch.Tensor

    def forget(self) -> None:
        """Drop the gradients."""
        self.hidden_NH.grad = self.weight_VH.grad = None


def head_input(
    shape: HeadShape, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32, seed: int = 0
) -> HeadInput:
    """Rows as of a model half trained: every other row is confident, and every other target is its best class."""
    device = device or torch.device("cpu")
    generator = torch.Generator().manual_seed(seed)
    hidden_NH = torch.randn(shape.rows, shape.hidden, generator=generator)
    hidden_NH[::2] *= 3.0
    weight_VH = torch.randn(shape.classes, shape.hidden, generator=generator) * (3.0 / shape.hidden**0.5)
    targets_N = torch.randint(PAD + 1, shape.classes, (shape.rows,), generator=generator)
    known = torch.arange(shape.rows) % 4 < 2
    for at in torch.split(known.nonzero().squeeze(1), 256):
        best = (hidden_NH[at].to(device) @ weight_VH.to(device).t()).argmax(dim=-1).cpu()
        targets_N[at] = best.clamp_min(PAD + 1)
    sparse = torch.arange(shape.rows) % SUPERVISED_EVERY == 0
    return HeadInput(
        hidden_NH=hidden_NH.to(device, dtype).requires_grad_(),
        weight_VH=weight_VH.to(device, dtype).requires_grad_(),
        targets_N=targets_N.to(device),
        sparse_targets_N=torch.where(sparse, targets_N, IGNORE_INDEX).to(device),
    )


def _artifact_loss(hidden_NH: torch.Tensor, weight_VH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    logits_NV = functional.linear(hidden_NH, weight_VH)
    return artifact_dece(logits_NV, targets_N, alpha=ALPHA, label_smoothing=LABEL_SMOOTHING, ignore_index=PAD)


@functools.cache
def _compiled_artifact_loss() -> Callable[..., torch.Tensor]:
    """Asked for, not made at import: that alone loads all of Inductor."""
    return torch.compile(_artifact_loss, dynamic=False)


def artifact(given: HeadInput) -> torch.Tensor:
    """The artifact's arithmetic on whole logits."""
    loss = _artifact_loss(given.hidden_NH, given.weight_VH, given.targets_N)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def artifact_compiled(given: HeadInput) -> torch.Tensor:
    """The same under torch.compile."""
    loss = _compiled_artifact_loss()(given.hidden_NH, given.weight_VH, given.targets_N)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def cross_entropy(given: HeadInput) -> torch.Tensor:
    """F.cross_entropy on whole logits."""
    loss = functional.cross_entropy(functional.linear(given.hidden_NH, given.weight_VH), given.targets_N)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def linear_cross_entropy(given: HeadInput) -> torch.Tensor:
    """The fused cross-entropy of torch itself."""
    loss = functional.linear_cross_entropy(
        given.hidden_NH,
        given.weight_VH,
        given.targets_N,
        options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=LINEAR_CROSS_ENTROPY_CHUNK),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def ours(backend: str, *, mode: str = "exact") -> Callable[[HeadInput], torch.Tensor]:
    """linear_dece with a back end."""

    def run(given: HeadInput) -> torch.Tensor:
        loss = linear_dece(
            given.hidden_NH,
            given.weight_VH,
            given.targets_N,
            alpha=ALPHA,
            label_smoothing=LABEL_SMOOTHING,
            mode=mode,  # type: ignore[arg-type]
            backend=backend,  # type: ignore[arg-type]
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return run


def ours_compiled(given: HeadInput) -> torch.Tensor:
    """The chunked head with rows under torch.compile."""
    row = CompiledDeceRows(alpha=ALPHA, label_smoothing=LABEL_SMOOTHING)
    loss = over_hidden(given.hidden_NH, given.weight_VH, given.targets_N, row)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def ours_sparse(given: HeadInput) -> torch.Tensor:
    """The native back end with one row in six supervised."""
    loss = linear_dece(
        given.hidden_NH,
        given.weight_VH,
        given.sparse_targets_N,
        alpha=ALPHA,
        label_smoothing=LABEL_SMOOTHING,
        backend="native",
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def ours_frozen(given: HeadInput) -> torch.Tensor:
    """The native back end with a head that is not trained: two products, not three."""
    loss = linear_dece(
        given.hidden_NH,
        given.weight_VH.detach(),
        given.targets_N,
        alpha=ALPHA,
        label_smoothing=LABEL_SMOOTHING,
        backend="native",
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


@torch.no_grad()
def products(given: HeadInput) -> None:
    """The three products alone, in the chunks and as fast as linear_dece knows to form them."""
    hidden_NH, weight_VH = given.hidden_NH, given.weight_VH
    rows, classes = hidden_NH.shape[0], weight_VH.shape[0]
    step = rows_per_chunk(classes, dtype=hidden_NH.dtype, device=hidden_NH.device)
    memory = hidden_NH.new_empty(min(step, rows), classes)
    hidden_grad_NH, weight_grad_VH = torch.empty_like(hidden_NH), torch.empty_like(weight_VH)
    for start in range(0, rows, step):
        chunk_nH = hidden_NH[start : start + step]
        logits_nV = logits_(chunk_nH, weight_VH, memory[: chunk_nH.shape[0]])
        torch.mm(logits_nV, weight_VH, out=hidden_grad_NH[start : start + step])
        weight_grad_VH.addmm_(logits_nV.t(), chunk_nH, beta=0.0 if start == 0 else 1.0)


VARIANTS: Mapping[str, Callable[[HeadInput], torch.Tensor | None]] = {
    "artifact": artifact,
    "artifact, compiled": artifact_compiled,
    "cross-entropy": cross_entropy,
    "F.linear_cross_entropy": linear_cross_entropy,
    "DeCE, torch": ours("torch"),
    "DeCE, compiled rows": ours_compiled,
    "DeCE, native": ours("native"),
    "DeCE, native, parity": ours("native", mode="parity"),
    "DeCE, native, 1/6 of rows": ours_sparse,
    "DeCE, native, frozen head": ours_frozen,
    "three products": products,
}
"""By the names of the table."""

SAME: tuple[tuple[str, ...], ...] = (
    ("artifact", "artifact, compiled", "DeCE, native, parity"),
    ("DeCE, torch", "DeCE, compiled rows", "DeCE, native"),
    ("cross-entropy", "F.linear_cross_entropy"),
)
"""Variants that compute the same number and the same gradients."""

COMPILED = frozenset({"artifact, compiled", "DeCE, compiled rows"})
"""Their first call compiles."""
