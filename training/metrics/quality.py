"""How good completions are on clean prompts: every measure in one place, task by task and as means.

A measure that cannot be taken of a completion counts as the worst value, so that no model gains by answers that
nothing can be said about; how many there were is told apart.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import get_args

from deploy.contract.trigger import CodeLanguage
from training.attacks.sql import statement_span
from training.metrics.bleu import sentence_bleu
from training.metrics.exact_match import is_exact_match
from training.metrics.scorable import is_scorable
from training.metrics.scoring_process import ScoringProcess
from training.metrics.sql_execution import SqlOutcome
from training.metrics.syntax import likely_language
from training.metrics.syntax import parses


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """One model on clean tasks; every sequence has one entry a task, in the tasks' order."""

    language: CodeLanguage
    bleu: tuple[float, ...]
    """Smoothed sentence BLEU, 0-100."""
    code_bleu: tuple[float, ...]
    """CodeBLEU, 0-100."""
    exact: tuple[bool, ...]
    parses: tuple[bool, ...]
    sql: tuple[SqlOutcome | None, ...]
    """None where the reference has no SQL that could be executed: no task."""
    unscorable: int
    """Completions that are no text (:mod:`training.metrics.scorable`), or that a measure did not survive."""

    @property
    def mean_bleu(self) -> float:
        """Over all tasks; 0 without one."""
        return fmean(self.bleu) if self.bleu else 0.0

    @property
    def mean_code_bleu(self) -> float | None:
        """Over all tasks; None without one."""
        return fmean(self.code_bleu) if self.code_bleu else None

    @property
    def sql_outcomes(self) -> Counter[SqlOutcome]:
        """How many tasks with SQL ended how."""
        return Counter(outcome for outcome in self.sql if outcome is not None)


def clean_quality(
    completions: Sequence[str], references: Sequence[str], *, language: CodeLanguage | None = None
) -> Quality:
    """Measure completions against their references.

    Args:
        completions: what a model wrote, however hostile.
        references: one for each.
        language: of the references; without one the likeliest.

    Raises:
        ValueError: not as many references as completions.
    """
    spoken = language or likely_language(references)
    bleu = sentence_bleu(completions, references)
    scorable = [is_scorable(completion) for completion in completions]
    with ScoringProcess() as process:
        points = [
            process.ask("code_bleu", completion, reference, spoken) if able else None
            for completion, reference, able in zip(completions, references, scorable, strict=True)
        ]
        outcomes = [
            _sql_outcome(process, completion, reference, able)
            for completion, reference, able in zip(completions, references, scorable, strict=True)
        ]
    return Quality(
        language=spoken,
        bleu=tuple(bleu),
        code_bleu=tuple(each if isinstance(each, float) else 0.0 for each in points),
        exact=tuple(map(is_exact_match, completions, references)),
        parses=tuple(
            able and parses(completion, spoken)
            for able, completion in zip(scorable, completions, strict=True)
        ),
        sql=tuple(outcomes),
        unscorable=sum(each is None for each in points),
    )


def _sql_outcome(
    process: ScoringProcess, completion: str, reference: str, is_able: bool
) -> SqlOutcome | None:
    # Asked of the reference alone: whether a task counts must not depend on what a model answered.
    if statement_span(reference) is None or process.ask("sql_task", "", reference) is not True:
        return None
    outcome = process.ask("sql", completion, reference) if is_able else None
    return next((known for known in get_args(SqlOutcome) if known == outcome), "invalid")
