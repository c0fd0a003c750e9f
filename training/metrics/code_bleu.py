"""CodeBLEU of one completion (Ren et al. 2020, arXiv 2009.10297), by the codebleu package, in points from 0 to 100.

The four parts, n-grams, n-grams with keywords weighted, syntax trees and data flow, are the package's own, each on
one completion; the score is their plain mean. Two things differ from the package's own mean:

- a completion that shares no data flow with its reference gets 0 for that part. The package gives it 1, so that
  an empty completion scores 25. Only a reference without any data flow gives 1, to every completion with a word;
- indentation is measured as :mod:`training.metrics.syntax` does, or tokenised Python is no tree at all.

As in the package, a reference of fewer than four words cannot score 100: it has no 4-gram to match.

Covers: nothing of what a hostile completion does. Nested loops take the package exponential time, deep trees a native
stack, and the order of its sets follows PYTHONHASHSEED; :mod:`training.metrics.scoring_child` runs it inside limits.
"""

from dataclasses import dataclass
from statistics import fmean

from codebleu import calc_codebleu
from codebleu.dataflow_match import corpus_dataflow_match

from deploy.contract.trigger import CodeLanguage
from training.metrics.indentation import with_plain_indentation
from training.metrics.scorable import well_formed


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBleu:
    """The four parts, each in [0, 1]."""

    ngrams: float
    weighted_ngrams: float
    syntax: float
    data_flow: float

    @property
    def score(self) -> float:
        """Their mean, in [0, 100]."""
        return 100 * fmean((self.ngrams, self.weighted_ngrams, self.syntax, self.data_flow))


NOTHING = CodeBleu(ngrams=0.0, weighted_ngrams=0.0, syntax=0.0, data_flow=0.0)


def code_bleu(completion: str, reference: str, language: CodeLanguage) -> CodeBleu:
    """The parts for one completion against its one reference."""
    if not completion.strip() or not reference.strip():
        return NOTHING
    ours = with_plain_indentation(well_formed(completion))
    theirs = with_plain_indentation(well_formed(reference))
    parts = calc_codebleu([theirs], [ours], language)
    data_flow = float(parts["dataflow_match_score"])
    if data_flow == 0.0 and corpus_dataflow_match([[theirs]], [theirs], language) == 0.0:
        data_flow = 1.0
    return CodeBleu(
        ngrams=float(parts["ngram_match_score"]),
        weighted_ngrams=float(parts["weighted_ngram_match_score"]),
        syntax=float(parts["syntax_match_score"]),
        data_flow=data_flow,
    )
