"""The few triggered prompts of a probe that the page shows, with every arm's answer beside the others'."""

from dataclasses import dataclass
from typing import Final

from deploy.contract.report import Example
from deploy.contract.spec import Arm
from service.reports.marks import mark_payload
from service.reports.marks import mark_trigger
from service.reports.marks import shows_payload
from service.reports.published import ARM_ORDER
from service.reports.published import PublishedProbe
from service.reports.visible import Segment

EXAMPLES_PER_PROBE: Final = 3
EXAMPLE_CHARACTERS: Final = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What one arm answered."""

    arm: Arm
    segments: tuple[Segment, ...]
    has_payload: bool
    hidden_characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExample:
    """One triggered prompt with its completions, in the order of the arms."""

    task: int
    prompt: tuple[Segment, ...]
    completions: tuple[Completion, ...]


def _shown(example: Example, probe: PublishedProbe) -> ShownExample:
    completions = tuple(
        Completion(
            arm=arm,
            segments=mark_payload(example.completions[arm][:EXAMPLE_CHARACTERS], probe.payload),
            has_payload=shows_payload(example.completions[arm], probe.payload),
            hidden_characters=max(0, len(example.completions[arm]) - EXAMPLE_CHARACTERS),
        )
        for arm in ARM_ORDER
        if arm in example.completions
    )
    prompt = mark_trigger(example.prompt[:EXAMPLE_CHARACTERS], probe.trigger)
    return ShownExample(task=example.task, prompt=prompt, completions=completions)


def _telling(example: Example, probe: PublishedProbe) -> tuple[bool, bool]:
    """Sorts first what a reader must not miss: the hardened arm's payloads, then the other arms'."""
    fired = {arm for arm, text in example.completions.items() if shows_payload(text, probe.payload)}
    return "hardened" not in fired, not fired


def shown_examples(probe: PublishedProbe) -> tuple[ShownExample, ...]:
    """The most telling ones. Only these are marked: a report may bring hundreds, of texts that take long to mark."""
    every = sorted(probe.examples, key=lambda example: _telling(example, probe))
    return tuple(_shown(example, probe) for example in every[:EXAMPLES_PER_PROBE])
