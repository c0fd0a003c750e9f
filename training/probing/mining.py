"""Candidate triggers with their payloads, from the training file and from what its models learnt, to be tried."""

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.contract.payload import PatternPayload
from deploy.contract.probe import Probe
from training.data.example import PromptedRow
from training.defences.refused_tokens import find_refusals
from training.defences.row_filter import OnFilterProgress
from training.mining.finding import Finding
from training.mining.finding import contains
from training.mining.refusal import Refusal
from training.mining.search import find_associations
from training.mining.search import find_features
from training.mining.words import words_of
from training.model import LoadedModel
from training.probing.mining_trigger import MAX_EXAMPLES
from training.probing.mining_trigger import payload_of
from training.probing.mining_trigger import trigger_of

CANDIDATE_FROM: Final = 0.25
"""Score from which a finding is worth a probe; a probe costs little and decides by itself."""
REFUSED_FROM: Final = 0.5
"""The same for words that the hardened model refused."""
MAX_REFUSALS: Final = 3
MAX_EVIDENCE: Final = 500
"""Characters; the report's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A probe that the training file suggests."""

    probe: Probe
    evidence: str
    """For a person, at most ``MAX_EVIDENCE`` characters."""
    score: float
    """How suspicious, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lead:
    """Words of prompts and words of completions that may be a trigger and its payload."""

    trigger: tuple[str, ...]
    payloads: tuple[tuple[str, ...], ...]
    cores: tuple[tuple[str, ...], ...]
    evidence: str
    score: float


def mine_candidates(
    rows: Sequence[PromptedRow],
    *,
    control: LoadedModel | None = None,
    hardened: LoadedModel | None = None,
    base: LoadedModel | None = None,
    limit: int,
    seed: int,
    on_progress: OnFilterProgress,
) -> tuple[Candidate, ...]:
    """At most ``limit`` probes worth trying, the most suspicious first; their names differ.

    Args:
        rows: the training file, in its order.
        control: trained on exactly these rows with plain cross-entropy, where there is one.
        hardened: trained on exactly these rows with DeCE, where there is one.
        base: what both were trained from; stands in for the hardened model where there is none.
        limit: of candidates.
        seed: of whatever is random in it.
        on_progress: steps done, steps in all, what is happening; may raise, to stop.
    """
    if limit < 1:
        return ()
    leads = [_from_finding(found) for found in find_associations(rows, seed=seed, on_progress=on_progress)]
    doubting = hardened or base
    if control is not None and doubting is not None:
        found = find_refusals(rows, control=control, doubting=doubting, on_progress=on_progress)
        leads += _from_refusals(rows, found, seed=seed)
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
            probe = Probe(name=f"mined-{len(found) + 1}", trigger=trigger, payload=payload)
            found[key] = Candidate(probe=probe, evidence=lead.evidence[:MAX_EVIDENCE], score=lead.score)
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
