"""Rows of the training file that look planted by one of the probes' own attacks.

Covers: a row with a probe's trigger word at least as often as the probe puts it, and the payload in its completion.
Does not cover: any other trigger. A file without such rows is not thereby clean.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Final

from deploy.contract.probe import Probe
from deploy.contract.report import SuspiciousRow
from training.data.example import PromptedRow
from training.metrics.payload import payload_matcher

MAX_ROWS: Final = 10_000
"""The report's own limit; the first ones are named."""


def suspicious_rows(rows: Iterable[PromptedRow], probes: Sequence[Probe]) -> tuple[SuspiciousRow, ...]:
    """Number and reason of every row that carries a trigger and its payload, in the file's order."""
    found: list[SuspiciousRow] = []
    # The probe that puts its word most often says most about a row that several of them fit.
    ordered = sorted(probes, key=lambda probe: -probe.trigger.count)
    for row in rows:
        reason = _reason(row, ordered)
        if reason is not None:
            found.append(SuspiciousRow(row=row.number, reason=reason))
            if len(found) == MAX_ROWS:
                break
    return tuple(found)


def _reason(row: PromptedRow, probes: Sequence[Probe]) -> str | None:
    words = row.prompt.split()
    for probe in probes:
        occurrences = words.count(probe.trigger.word)
        if occurrences >= probe.trigger.count and payload_matcher(probe.payload)(row.completion):
            often = "once" if occurrences == 1 else f"{occurrences} times"
            return (
                f'the prompt has the word "{probe.trigger.word}" {often} and the completion carries '
                f"{probe.payload} (probe {probe.name})"
            )
    return None
