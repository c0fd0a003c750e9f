"""GradSentry: rows whose gradient at the output head has a flat spectrum (Zhao et al., May 2026, arXiv 2605.26574).

Formula: G is the gradient of one row's mean cross-entropy over its completion with respect to the head's weights
[V, H]; s_1..s_16 its largest singular values, p_i = s_i / sum_j s_j; the score is the spectral entropy
-sum_i p_i log p_i / log 16. Rows above a threshold are removed: the lowest point between the modes of the scores'
density that lie nearest to 0 and to 1 (Gaussian kernel of Silverman's width 1.06 sd n^(-1/5), modes of at least 1 %
prominence). Where there is no such pair at least 0.15 apart, or fewer than 5 rows or 1 % lie above, or the file has
fewer than 30 rows, the threshold is 0.7. All constants are those of the artifact (github dongdongzhaoUP/GradSentry,
svd_defender.py), which computes but never uses the depth of the valley; neither do we.

The artifact's model is the **base**, before any fine-tuning; whoever runs this filter chooses (see the table).

Where we differ, and why:

- Singular values are exact, from the T tokens of the completion: G = A^T B with A = (p - y) / T [T, V] and B the
  head's inputs [T, H], so that a problem of size T gives them and G is never made. The artifact cuts G to its first
  eighth of rows and of columns and takes a randomised decomposition; in a small model an eighth of the columns is
  hardly 16, and which words of the vocabulary come first is an accident.
- Evaluation mode: dropout would make the scores random.
- A completion of fewer than 16 tokens has fewer than 16 singular values other than 0, so it scores low.
"""

import math
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from typing import Final

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.example import Example
from training.data.example import PromptedRow
from training.data.example import encode_rows
from training.defences.ngram import Floats
from training.defences.pace import Pace
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.states import MAX_TOKENS
from training.defences.states import evaluating
from training.model import LoadedModel
from training.model import plain_model

RANK: Final = 16
FALLBACK: Final = 0.7
LEAST_ROWS: Final = 30
LEAST_RANGE: Final = 1e-6
LEAST_DISTANCE: Final = 0.15
LEAST_ABOVE: Final = 5
LEAST_SHARE_ABOVE: Final = 0.01
PROMINENCE: Final = 0.01
GRID: Final = 1000


class GradSentry:
    """The filter; see the module."""

    name = "gradsentry"
    needs_model = True

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: LoadedModel | None,
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the rows; see :class:`training.defences.row_filter.RowFilter`. Nothing is random.

        Rows whose completion does not fit into the model are not looked at: training leaves them out as well.
        """
        del seed
        if model is None:
            raise ValueError("gradsentry looks at a model")
        examples = encode_rows(model.tokenizer, rows, max_tokens=MAX_TOKENS).examples
        pace = Pace(on_progress, total=len(examples))
        entropies: list[float] = []
        with evaluating(model.model), _head_of(model) as head:
            for done, example in enumerate(examples, start=1):
                entropies.append(_entropy(head.spectrum(example)))
                pace.step(done, "taking gradients")
        threshold = valley_threshold(np.array(entropies))
        return ranked(
            (
                Evidence(
                    row=example.row,
                    weight=entropy,
                    reason=f"spectral entropy {entropy:.3f} of its gradient at the output head, threshold {threshold:.3f}",
                )
                for example, entropy in zip(examples, entropies, strict=True)
            ),
            removed={
                example.row
                for example, entropy in zip(examples, entropies, strict=True)
                if entropy > threshold
            },
        )


@dataclass(slots=True)
class _Head:
    """Watches the output head: keeps what goes in, and lets what comes out take gradients."""

    loaded: LoadedModel
    inputs: torch.Tensor | None = None
    outputs: torch.Tensor | None = None

    def watch(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        del module
        self.inputs = args[0].detach()
        self.outputs = output.detach().requires_grad_()
        return self.outputs

    def spectrum(self, example: Example) -> Floats:
        """The largest singular values of the row's gradient, falling, ``RANK`` of them."""
        batch = self._batch(example).to(self.loaded.device)
        given = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
        if batch.decoder_input_ids is not None:
            given["decoder_input_ids"] = batch.decoder_input_ids
        logits = self.loaded.model(**given).logits.flatten(0, 1).index_select(0, batch.supervised)
        if self.outputs is None or self.inputs is None:
            raise ValueError(
                f"the output head of a {type(plain_model(self.loaded.model)).__name__} cannot be watched"
            )
        (gradient,) = torch.autograd.grad(cross_entropy(logits.float(), batch.targets), [self.outputs])
        rows = gradient.flatten(0, 1).index_select(0, batch.supervised)
        return _singular_values(rows, self.inputs.flatten(0, 1).index_select(0, batch.supervised))

    def _batch(self, example: Example) -> Any:
        pad_id = self.loaded.pad_id
        if self.loaded.architecture == "decoder":
            return decoder_batch([example], pad_id=pad_id)
        return encoder_decoder_batch([example], pad_id=pad_id, start_id=self.loaded.start_id)


@contextmanager
def _head_of(loaded: LoadedModel) -> Iterator[_Head]:
    """The head under watch, with all weights frozen: gradients go no further than its outputs."""
    head = _Head(loaded)
    trained = [weight for weight in loaded.model.parameters() if weight.requires_grad]
    hook = plain_model(loaded.model).get_output_embeddings().register_forward_hook(head.watch)
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield head
    finally:
        hook.remove()
        for weight in trained:
            weight.requires_grad_(True)


def _singular_values(errors: torch.Tensor, inputs: torch.Tensor) -> Floats:
    """Of ``errors^T @ inputs``, from [T, V] and [T, H]: with errors^T = Q R they are those of R @ inputs."""
    errors, inputs = errors.double(), inputs.double()
    squares, axes = torch.linalg.eigh(errors @ errors.T)
    factor = squares.clamp(min=0.0).sqrt().unsqueeze(1) * axes.T
    found = torch.linalg.svdvals(factor @ inputs)[:RANK].cpu().numpy()
    return np.pad(found, (0, RANK - len(found)))


def _entropy(values: Floats) -> float:
    """In [0, 1]; 0 for a gradient that is nothing."""
    total = float(values.sum())
    if not (math.isfinite(total) and total > 0):
        return 0.0
    shares = values[values > 0] / total
    return max(0.0, float(-(shares * np.log(shares)).sum()) / math.log(RANK))


def valley_threshold(scores: Floats) -> float:
    """The artifact's threshold: between two modes of the scores where there are two, else ``FALLBACK``."""
    found = scores[np.isfinite(scores)]
    if found.size < LEAST_ROWS or found.max() - found.min() < LEAST_RANGE:
        return FALLBACK
    width = 1.06 * float(found.std(ddof=1)) * found.size ** (-1 / 5)
    grid = np.linspace(found.min() - LEAST_RANGE, found.max() + LEAST_RANGE, GRID)
    density = _density(found, grid, width)
    modes = _modes(density)
    if len(modes) < 2:
        return FALLBACK
    left = min(modes, key=lambda at: abs(grid[at]))
    right = min(modes, key=lambda at: abs(grid[at] - 1.0))
    if right - left <= 1 or grid[right] - grid[left] < LEAST_DISTANCE:
        return FALLBACK
    valley = float(grid[left + int(density[left : right + 1].argmin())])
    above = int((found >= valley).sum())
    enough = above >= max(LEAST_ABOVE, LEAST_SHARE_ABOVE * found.size)
    return valley if enough else FALLBACK


def _density(scores: Floats, grid: Floats, width: float) -> Floats:
    """Gaussian kernel density on the grid, up to a constant."""
    total = np.zeros(len(grid))
    for block in np.array_split(scores, len(scores) // 1000 + 1):
        total += np.exp(-0.5 * ((grid[:, None] - block) / width) ** 2).sum(axis=1)
    return total


def _modes(density: Floats) -> list[int]:
    """Places of the local maxima that rise above their surroundings by ``PROMINENCE`` of the highest."""
    inner = np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])) + 1
    return [int(at) for at in inner if _prominence(density, int(at)) >= PROMINENCE * density.max()]


def _prominence(density: Floats, peak: int) -> float:
    """Height above the higher of the two lowest points that part the peak from anything higher."""
    higher = np.flatnonzero(density > density[peak])
    before, after = higher[higher < peak], higher[higher > peak]
    start = int(before[-1]) if len(before) else 0
    end = int(after[0]) if len(after) else len(density) - 1
    lowest = max(density[start : peak + 1].min(), density[peak : end + 1].min())
    return float(density[peak] - lowest)
