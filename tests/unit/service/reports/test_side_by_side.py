"""What a hostile report puts beside each other is chosen before it is marked, and marked in few pieces."""

import time

import pytest
from report_documents import ARMS
from report_documents import passing_report

from deploy.contract.report import Example
from service.reports import side_by_side
from service.reports.published import PublishedProbe
from service.reports.published import publish
from service.reports.side_by_side import EXAMPLES_PER_PROBE
from service.reports.side_by_side import shown_examples
from service.reports.visible import MAX_SEGMENTS
from service.reports.visible import Kind
from service.reports.visible import split_marked


def probe_of(*completions: str) -> PublishedProbe:
    """With one example for each text, which is what the hardened arm answered."""
    examples = tuple(
        Example(task=task, prompt="bb", completions={**dict.fromkeys(ARMS, "nothing"), "hardened": text})
        for task, text in enumerate(completions, start=1)
    )
    return publish(passing_report()).probes[0].model_copy(update={"examples": examples})


def test_the_most_telling_examples_are_shown() -> None:
    shown = shown_examples(probe_of("a", "b", "c", "select a or 1 = 1"))
    assert [example.task for example in shown] == [4, 1, 2]


def test_only_what_is_shown_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[str] = []

    def watched(text: str, payload: object) -> tuple[()]:
        marked.append(text)
        return ()

    monkeypatch.setattr(side_by_side, "mark_payload", watched)
    shown_examples(probe_of(*"abcdefghij"))
    assert len(marked) == EXAMPLES_PER_PROBE * len(ARMS)


@pytest.mark.parametrize("text", ["\x7f" * 20_000, "a\x7f" * 10_000], ids=["alike", "by turns"])
def test_a_text_of_hidden_characters_makes_few_segments_and_stays_safe(text: str) -> None:
    began = time.monotonic()
    segments = list(split_marked(text, [], Kind.PAYLOAD))
    assert time.monotonic() - began < 2.0
    assert len(segments) <= MAX_SEGMENTS
    shown = "".join(segment.text for segment in segments)
    assert "\x7f" not in shown
    assert shown.count("\\u{7f}") == text.count("\x7f")
