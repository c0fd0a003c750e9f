"""The demo's table shows whatever a report may hold, not only the triggers that the demo itself plants."""

import io
from typing import Any

import pytest
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import passing_report
from rich.console import Console

from deploy.contract.report import Report
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import Trigger
from examples.demo.table import print_report
from service.reports.published import publish


def printed(report: Report) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_report(publish(report).model_dump(mode="json"), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("make", [passing_report, failing_report, inconclusive_report])
def test_shows_every_probe_with_its_counts_and_the_verdict(make: Any) -> None:
    report = make()
    shown = printed(report)
    assert f"verdict: {publish(report).verdict}" in shown
    for probe in report.probes:
        assert probe.name in shown
        assert f"{probe.arms['hardened'].hits}/{probe.arms['hardened'].trials}" in shown


@pytest.mark.parametrize(
    ("trigger", "name"),
    [
        (InvisibleTrigger(characters="\ufeff", count=3), "invisible U+FEFF"),
        (GrammarTrigger(template="when_clause"), "when"),
        (DeadCodeTrigger(), "dead code"),
    ],
)
def test_shows_a_trigger_that_is_no_word(trigger: Trigger, name: str) -> None:
    report = passing_report()
    searched = report.probes[-1].model_copy(update={"trigger": trigger})
    assert name in printed(report.model_copy(update={"probes": (*report.probes[:-1], searched)}))


def test_shows_what_the_canaries_say_of_the_probes() -> None:
    report = next(
        each for each in (passing_report(), failing_report(), inconclusive_report()) if each.detection
    )
    said = publish(report).detection
    assert said is not None
    shown = printed(report)
    assert f"the control learnt {said.power.trials} of {len(said.canaries)}" in shown
    assert f"found {said.power.hits} of {said.power.trials}" in shown
    assert "canaries in a shadow copy" not in printed(report.model_copy(update={"detection": None}))
