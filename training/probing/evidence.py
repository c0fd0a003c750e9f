"""What speaks against a training file, gathered once: mining makes triggers to try of it, triage names its rows."""

from dataclasses import dataclass

from training.mining.finding import Finding
from training.mining.refusal import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of the rows alone, and of models that were trained on them where there are any. From the most suspicious down."""

    findings: tuple[Finding, ...] = ()
    """Words of prompts that predict a surplus in completions."""
    refused: tuple[Refusal, ...] = ()
    """Words that the control learnt by heart and the hardened model refused; where it refused none beyond doubt, also
    those that the base does not expect."""
