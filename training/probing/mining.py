"""Candidate triggers with their payloads, from the training file and from what its models learnt, to be tried."""

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.contract.payload import PatternPayload
from training.data.example import PromptedRow
from training.mining.finding import Finding
from training.mining.finding import contains
from training.mining.refusal import Refusal
from training.mining.search import find_features
from training.mining.words import words_of
from training.probing.candidate import Candidate
from training.probing.evidence import Evidence
from training.probing.mining_trigger import MAX_EXAMPLES
from training.probing.mining_trigger import payload_of
from training.probing.mining_trigger import trigger_of

CANDIDATE_FROM: Final = 0.25
"""Score from which a finding is worth a probe; a probe costs little and decides by itself."""
REFUSED_FROM: Final = 0.5
"""The same for words that a model refused."""
MAX_REFUSALS: Final = 3
MAX_EVIDENCE: Final = 500
"""Characters; the report's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lead:
    """Words of prompts and words of completions that may be a trigger and its payload."""

    trigger: tuple[str, ...]
    payloads: tuple[tuple[str, ...], ...]
    cores: tuple[tuple[str, ...], ...]
    evidence: str
    score: float


def mine_candidates(
    rows: Sequence[PromptedRow], evidence: Evidence, *, limit: int, seed: int
) -> tuple[Candidate, ...]:
    """At most ``limit`` triggers worth trying, the most suspicious first.

    Args:
        rows: the training file, in its order.
        evidence: what speaks against it.
        limit: of candidates.
        seed: of whatever is random in it.
    """
    if limit < 1:
        return ()
    leads = [_from_finding(found) for found in evidence.findings]
    leads += _from_refusals(rows, evidence.refused, seed=seed)
    leads = [lead for lead in leads if lead.score >= CANDIDATE_FROM]
    leads.sort(key=lambda lead: (-lead.score, lead.trigger))
    return _candidates(rows, leads, limit=limit)


def _from_finding(finding: Finding) -> _Lead:
    return _Lead(
        trigger=finding.trigger,
        payloads=finding.payloads,
        cores=finding.cores,
        evidence=finding.reason,
        score=finding.score,
    )


def _from_refusals(rows: Sequence[PromptedRow], found: Iterable[Refusal], *, seed: int) -> list[_Lead]:
    """What the prompts share whose completions have words that were refused."""
    leads: list[_Lead] = []
    for refusal in [group for group in found if group.score >= REFUSED_FROM][:MAX_REFUSALS]:
        for words in find_features(rows, refusal.rows, seed=seed):
            leads.append(
                _Lead(
                    trigger=words,
                    payloads=(refusal.words,),
                    cores=(),
                    evidence=f'the prompts share "{" ".join(words)}"; {refusal.reason}',
                    score=refusal.score,
                )
            )
    return leads


def _candidates(rows: Sequence[PromptedRow], leads: Iterable[_Lead], *, limit: int) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    for lead in leads:
        if len(found) == limit:
            break
        having, others = _examples(rows, lead)
        trigger = trigger_of(lead.trigger, [row.prompt for row in having])
        payload = payload_of(
            lead.payloads,
            [row.completion for row in having],
            [row.completion for row in others],
            name=f"mined-{len(found) + 1}",
        )
        if trigger is None or payload is None:
            continue
        key = f"{trigger!r} {payload.pattern if isinstance(payload, PatternPayload) else payload}"
        if key not in found:
            found[key] = Candidate(
                trigger=trigger,
                payload=payload,
                origin="mined",
                evidence=lead.evidence[:MAX_EVIDENCE],
                score=lead.score,
            )
    return tuple(found.values())


def _examples(rows: Sequence[PromptedRow], lead: _Lead) -> tuple[list[PromptedRow], list[PromptedRow]]:
    """Some rows with the trigger and the payload, and some without the trigger."""
    having: list[PromptedRow] = []
    others: list[PromptedRow] = []
    for row in rows:
        if len(having) == MAX_EXAMPLES and len(others) == 5 * MAX_EXAMPLES:
            break
        if not contains(words_of(row.prompt), lead.trigger):
            if len(others) < 5 * MAX_EXAMPLES:
                others.append(row)
        elif len(having) < MAX_EXAMPLES:
            completion = words_of(row.completion)
            if any(contains(completion, form) for form in (*lead.cores, *lead.payloads)):
                having.append(row)
    return having, others
