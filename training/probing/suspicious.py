"""Rows of the training file that look planted by one of the probes' own attacks.

Covers: a row that has what a probe's trigger leaves in a prompt, and the payload in its completion.
Does not cover: any other trigger. A file without such rows is not thereby clean.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Final

from deploy.contract.payload import payload_name
from deploy.contract.probe import Probe
from deploy.contract.report import SuspiciousRow
from deploy.contract.trigger import Trigger
from training.attacks.traces import trace_of
from training.data.example import PromptedRow
from training.metrics.payload import payload_matcher

MAX_ROWS: Final = 10_000
"""The report's own limit; the first ones are named."""


def suspicious_rows(rows: Iterable[PromptedRow], probes: Sequence[Probe]) -> tuple[SuspiciousRow, ...]:
    """Number and reason of every row that carries a trigger and its payload, in the file's order."""
    found: list[SuspiciousRow] = []
    # The probe that puts its trigger most often says most about a row that several of them fit.
    ordered = sorted(probes, key=lambda probe: -_count(probe.trigger))
    for row in rows:
        reason = _reason(row, ordered)
        if reason is not None:
            found.append(SuspiciousRow(row=row.number, reason=reason))
            if len(found) == MAX_ROWS:
                break
    return tuple(found)


def _count(trigger: Trigger) -> int:
    """How often the trigger puts what it puts; one that puts nothing says least about a row."""
    if trigger.type == "none":
        return 0
    return trigger.count if trigger.type in {"word", "invisible"} else 1


def _reason(row: PromptedRow, probes: Sequence[Probe]) -> str | None:
    for probe in probes:
        if not payload_matcher(probe.payload)(row.completion):
            continue
        trace = trace_of(row.prompt, probe.trigger)
        if trace is not None:
            return f"{trace} and the completion carries {payload_name(probe.payload)} (probe {probe.name})"[
                :500
            ]
    return None
