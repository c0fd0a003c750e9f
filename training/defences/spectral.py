"""Spectral signatures: rows far out along the main axes of their representations (Tran et al., NeurIPS 2018, 1811.00636).

Formula: R is the matrix of representations, centred; v_1..v_k its first right singular vectors; a row's score is the
length of its projection, sqrt(sum_j (R v_j)^2); the 1.5 * epsilon share with the highest scores is removed. Tran et
al. take k = 1; Ramakrishnan and Albarghouthi (arXiv 2006.06841) took the method to models of code, with k up to 10
and an encoder's states; Le et al. (arXiv 2510.13992) find that small poison shares need a larger k.

Constants: k = 1, epsilon = 0.05. Nobody tells a defender epsilon, the share of poisoned rows; 5 % is the customary
guess, and 7.5 % of the rows are removed from a clean file too. Representation: the mean over the tokens of the last
hidden states, of prompt and completion in a decoder-only model, of the prompt in an encoder.

The singular vectors are the eigenvectors of the covariance, so the memory is that of the representations: linear in
the rows. The DeCE paper has no such row.
"""

from collections.abc import Sequence
from typing import Final

import torch

from training.data.example import PromptedRow
from training.defences.pace import Pace
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.states import mean_token
from training.defences.states import picked_states
from training.defences.states import row_ids
from training.model import LoadedModel

EXPECTED_SHARE: Final = 0.05
REMOVED_PER_EXPECTED: Final = 1.5
BLOCK_ROWS: Final = 512


class SpectralSignatures:
    """The filter; see the module."""

    name = "spectral_signatures"
    needs_model = True

    def __init__(self, *, vectors: int = 1, expected_share: float = EXPECTED_SHARE) -> None:
        """Set the module's k and epsilon."""
        if vectors < 1:
            raise ValueError(f"vectors must be at least 1, got {vectors}")
        if not 0 < expected_share < 1:
            raise ValueError(f"the expected share must lie in (0, 1), got {expected_share}")
        self._vectors = vectors
        self._share = min(1.0, REMOVED_PER_EXPECTED * expected_share)

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: LoadedModel | None,
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the rows; see :class:`training.defences.row_filter.RowFilter`. Nothing is random."""
        del seed
        if model is None:
            raise ValueError("spectral_signatures looks at a model that was trained on the rows")
        scores = _scores(_representations(rows, model, Pace(on_progress, total=len(rows))), self._vectors)
        order = sorted(range(len(rows)), key=lambda at: -scores[at])
        removed = {rows[at].number for at in order[: int(self._share * len(rows))] if scores[at] > 0}
        return ranked(
            (
                Evidence(
                    row=rows[at].number,
                    weight=scores[at],
                    reason=(
                        f"{scores[at]:.3g} from the mean along the first {self._vectors} singular vectors of the "
                        f"hidden states, number {place} of {len(rows)} rows"
                    ),
                )
                for place, at in enumerate(order, start=1)
            ),
            removed=removed,
        )


def _representations(rows: Sequence[PromptedRow], model: LoadedModel, pace: Pace) -> torch.Tensor:
    """[rows, H] in fp64, where equal rows are equal to the last bit of fp32."""
    blocks = [torch.zeros(0, 0, dtype=torch.float64)]
    for start in range(0, len(rows), BLOCK_ROWS):
        texts = [row_ids(model, row) for row in rows[start : start + BLOCK_ROWS]]
        blocks.append(picked_states(model, texts, mean_token).double())
        pace.step(min(start + BLOCK_ROWS, len(rows)), "running the rows through the model")
    return torch.cat(blocks[1:]) if rows else blocks[0]


def _scores(representations: torch.Tensor, vectors: int) -> list[float]:
    """Of every row; all 0 where the rows are alike but for rounding."""
    if len(representations) == 0:
        return []
    size = representations.abs().max()
    centred = representations - representations.mean(dim=0)
    if centred.abs().max() <= 1e-5 * size:
        return [0.0] * len(representations)
    _, axes = torch.linalg.eigh(centred.T @ centred)
    projected = centred @ axes[:, -vectors:]
    found: list[float] = projected.square().sum(dim=1).sqrt().tolist()
    return found
