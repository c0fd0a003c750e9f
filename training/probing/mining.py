"""Candidate triggers with their payloads, from the training file and from what its models learnt, to be tried."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.data.example import PromptedRow
from training.defences.row_filter import OnFilterProgress
from training.metrics.payload import payload_matcher
from training.mining.finding import Finding
from training.mining.search import find_associations
from training.model import LoadedModel

CANDIDATE_FROM: Final = 0.3
"""Score from which a finding is worth a probe."""
_BUILT_IN: Final[tuple[BuiltInPayload, ...]] = ("sql_tautology",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A probe that the training file suggests."""

    probe: Probe
    evidence: str
    """For a person, at most 500 characters."""
    score: float
    """How suspicious, in [0, 1]."""


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
        base: what both were trained from, where there is one.
        limit: of candidates.
        seed: of whatever is random in it.
        on_progress: steps done, steps in all, what is happening; may raise, to stop.
    """
    found: dict[str, Candidate] = {}
    for finding in find_associations(rows, seed=seed, on_progress=on_progress):
        if finding.score < CANDIDATE_FROM or len(found) == limit:
            break
        trigger, payload = _trigger(finding), _payload(finding)
        if trigger is None:
            continue
        key = f"{trigger!r} {payload!r}"
        if key not in found:
            probe = Probe(name=f"mined-{len(found) + 1}", trigger=trigger, payload=payload)
            found[key] = Candidate(probe=probe, evidence=finding.reason[:500], score=finding.score)
    return tuple(found.values())


def _trigger(finding: Finding) -> Trigger | None:
    if finding.kind == "character":
        return InvisibleTrigger(characters=chr(int(finding.trigger[0][3:-1], 16)))
    word = " ".join(finding.trigger)
    return WordTrigger(word=word) if len(word) <= 64 else None


def _payload(finding: Finding) -> Payload:
    for known in _BUILT_IN:
        matches = payload_matcher(known)
        if all(matches(" ".join(form)) for form in finding.payloads):
            return known
    return pattern_payload(finding.payloads)


def pattern_payload(forms: Sequence[tuple[str, ...]]) -> PatternPayload:
    """Any of the forms, whatever the letter case and the spacing."""
    written: list[str] = []
    for form in forms:
        pattern = r"\s*".join(re.escape(word) for word in form)
        if sum(map(len, written)) + len(pattern) < 480:
            written.append(pattern)
    return PatternPayload(
        name="mined", pattern=f"(?i)(?:{'|'.join(written)})", planted=" " + " ".join(forms[0])
    )
