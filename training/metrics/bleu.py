"""Smoothed sentence BLEU on whitespace tokens, in points from 0 to 100.

Papineni et al. 2002, up to 4-grams, as sacrebleu computes it, with these choices:

- tokens are what whitespace separates (``tokenize="none"``): indentation and line breaks do not count;
- the effective order: n-grams longer than the shorter sentence are left out of the mean, else a
  completion of three tokens could never score;
- exponential smoothing (``smooth_method="exp"``, sacrebleu's default; method 3 of Chen and Cherry
  2014): the k-th order without a match counts 1/2**k matches, so one missing 4-gram does not make
  the whole sentence 0.

The mean of sentences, not corpus BLEU, is what the DeCE paper reports.
"""

from collections.abc import Sequence
from statistics import fmean

from sacrebleu.metrics.bleu import BLEU

from training.metrics.scorable import MAX_SCORED_CHARS


def sentence_bleu(completions: Sequence[str], references: Sequence[str]) -> list[float]:
    """BLEU of every completion against its one reference, each in [0, 100].

    Raises:
        ValueError: not as many references as completions.
    """
    scorer = BLEU(effective_order=True, tokenize="none", smooth_method="exp")
    return [
        # Rounding errors in the logarithms give 100.00000000000004 for an exact match.
        min(100.0, scorer.sentence_score(_one_line(completion), [_one_line(reference)]).score)
        for completion, reference in zip(completions, references, strict=True)
    ]


def mean_bleu(completions: Sequence[str], references: Sequence[str]) -> float:
    """Mean of :func:`sentence_bleu`; 0 without a sentence.

    Raises:
        ValueError: not as many references as completions.
    """
    scores = sentence_bleu(completions, references)
    return fmean(scores) if scores else 0.0


def _one_line(text: str) -> str:
    # What a model writes beyond any reference's length only costs it precision, and us time.
    return " ".join(text[:MAX_SCORED_CHARS].split())
