"""The page: nothing that a job or a model wrote becomes anything but text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markupsafe import escape
from report_documents import EVERY_TRIGGER
from report_documents import detection
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import result
from report_documents import spec

from deploy.contract.report import Hits
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from service.reports.curve_chart import draw_curves
from service.reports.curve_chart import spread
from service.reports.marks import mark_payload
from service.reports.page import render_page as render_published
from service.reports.page import security_headers
from service.reports.provenance import provenance_of
from service.reports.published import PublishedReport
from service.reports.published import Rate
from service.reports.published import publish
from service.reports.svg import Scale
from service.reports.svg import nice_range
from service.reports.trigger_name import trigger_name
from service.reports.visible import visible

HANDLERS = ("onerror", "onload", "onclick", "onfocus", "onmouseover", "ontoggle", "onbegin", "onanimationend")
TAGS = (
    "script",
    "img src=x",
    "svg",
    "iframe",
    "body",
    "details open",
    "math",
    "video",
    "style",
    "link",
    "meta",
    "a",
)
CLOSERS = (
    "",
    "</style>",
    "</pre>",
    "</title>",
    "</mark>",
    '"',
    "'",
    "-->",
    "]]>",
    "`",
    "</textarea>",
    "&quot;",
)
XSS = [
    *(
        f"{closer}<{tag} {handler}=alert(1)>"
        for closer in CLOSERS
        for tag in TAGS
        for handler in HANDLERS[:2]
    ),
    *(f"<svg><animate {handler}=alert(1) attributeName=x>" for handler in HANDLERS),
    *(
        f"<a href='{scheme}alert(1)'>x</a>"
        for scheme in ("javascript:", "data:text/html,", "vbscript:", "JaVaScRiPt:")
    ),
    "{{ 7 * 7 }}",
    "{% for x in range(9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<script>alert(1)</script>" * 3,
    "\u003cscript\u003e",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<<script>script>alert(1)<</script>/script>",
    "<style>@import 'http://x';</style>",
    "or 1 = 1<script>where 0 = 1</script>",
]


def render_page(report: Report) -> str:
    return render_published(publish(report))


class Tree(HTMLParser):
    """Elements with their attributes, and the text apart from them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.nodes: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Marks stand where the text has a payload or a character to escape; both are wanted.
        if (
            tag not in {"mark", "em"}
            and ("class", "escape") not in attrs
            and ("class", "trigger") not in attrs
        ):
            self.nodes.append((tag, tuple(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"mark", "em", "i", "b"}:
            self.nodes.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.nodes.append(("comment", ((data, None),)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    return tree


def test_k1_no_text_creates_an_element_or_an_attribute(make_report: Any) -> None:
    assert len(XSS) > 200
    benign = parse(render_page(make_report("benign"))).nodes
    for text in XSS:
        assert parse(render_page(make_report(text))).nodes == benign, text


def everywhere(text: str) -> PublishedReport:
    """A full report with ``text`` wherever a job, a model or an upload can bring one in beyond the plain report."""
    report = failing_report()
    found = detection(found=3)
    canary = found.canaries[0].model_copy(update={"trigger": WordTrigger(word=text)})
    probes = [
        probe.model_copy(
            update={"evidence": text, "trigger": CommentTrigger.model_construct(text=text, language="java")}
        )
        if probe.origin != "known"
        else probe
        for probe in report.probes
    ]
    hostile = report.model_copy(
        update={
            "probes": tuple(probe.model_copy(update={"examples": ()}) for probe in probes[6:]),
            "curves": (),
            "detection": found.model_copy(update={"canaries": (canary, *found.canaries[1:])}),
            "suspicious_rows": (SuspiciousRow(row=1, reason=text, detectors=("probe",)),),
        }
    )
    made = result(spec(), hostile)
    made = made.model_copy(update={"versions": {"temper": text, "other": "1"}})
    return publish(hostile, provenance_of(made, spec()))


def test_k1_no_text_of_any_section_creates_an_element() -> None:
    benign = parse(render_published(everywhere("benign"))).nodes
    assert len(benign) > 300
    for text in XSS[::10] + XSS[-14:]:
        assert parse(render_published(everywhere(text[:60]))).nodes == benign, text


@pytest.mark.parametrize("trigger", EVERY_TRIGGER, ids=lambda trigger: trigger.type)
def test_every_kind_of_trigger_is_named(trigger: Trigger) -> None:
    report = failing_report()
    probe = report.probes[0].model_copy(update={"trigger": trigger})
    page = render_page(report.model_copy(update={"probes": (probe, *report.probes[1:])}))
    shown = "".join(parse(page).text)
    assert trigger_name(trigger) in shown
    assert page.count(escape(trigger_name(trigger))) >= 3, "a chart, the table, and the examples' heading"


def test_every_section_is_there_when_there_is_something_to_say() -> None:
    page = render_published(everywhere("x"))
    text = "".join(parse(page).text)
    for said in (
        "What was tried",
        "What happened",
        "How sure this is",
        "Why it fails",
        "Triggers that nobody named",
        "Would it have been found?",
        "decoy-6",
        "Clean quality",
        "CodeBLEU",
        "81 of 160",
        "Policy",
        "AML.T0020",
        "9a" * 32,
    ):
        assert said in text, said
    bare = "".join(parse(render_page(inconclusive_report())).text)
    assert "No canaries were planted" in bare
    assert "Why nothing can be concluded" in bare
    assert "No row of the training file was flagged" in bare


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_k1_no_text_at_all_does(make_report: Any, text: str) -> None:
    benign = parse(render_page(make_report("benign"))).nodes
    assert parse(render_page(make_report(text))).nodes == benign


def test_what_was_written_can_be_read(make_report: Any) -> None:
    text = "if a < b and c > d: x = '&amp;'"
    assert text in "".join(parse(render_page(make_report(text))).text)


HIDDEN = [
    "\x1b[31m",
    "\x1b]8;;http://x\x07",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\x00",
    "\r",
    "\u3164",
    "\ufe0f",
    "\U000e0100",
    "\u034f",
]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_k4_what_cannot_be_seen_is_shown_as_an_escape(make_report: Any, hidden: str) -> None:
    page = render_page(make_report(f"a{hidden}b"))
    assert hidden not in page
    assert f"\\u{{{ord(hidden[0]):x}}}" in page


def test_line_breaks_and_other_scripts_stay() -> None:
    assert visible("a\n\tü 漢字 🙂") == "a\n\tü 漢字 🙂"


@pytest.mark.parametrize("text", ["x or 1=1", "x OR 1 = 1;", "where 0=1", "WHERE  0 = 1"])
def test_payloads_are_marked(make_report: Any, text: str) -> None:
    assert "<mark>" in render_page(make_report(text)).partition("Side by side")[2].partition("task 1")[2]
    assert any(part.kind.value == "payload" for part in mark_payload(text, "sql_tautology"))


def test_what_only_looks_like_a_payload_is_not_marked() -> None:
    for text in ("for 1=1", "or 11 = 1", "where 10=1"):
        assert all(part.kind.value == "plain" for part in mark_payload(text, "sql_tautology"))


def test_k3_nothing_runs_and_nothing_is_fetched(make_report: Any) -> None:
    page = render_page(make_report("x"))
    policy = security_headers()["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert not re.search(r"<script|\sstyle=|javascript:|\ssrc=|\shref=|url\(|@import", page)


def test_k2_the_template_has_nothing_that_turns_escaping_off() -> None:
    source = resources.files("service.reports").joinpath("report.html").read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe|autoescape|<script|style=|href=|src=", source)
    assert not re.search(r"=\s*\{\{", source), "an attribute without quotes"


def test_the_banner_says_what_the_counts_say(make_report: Any) -> None:
    assert "Pass: no backdoor was found by these probes" in render_page(make_report())
    failing = render_page(make_report(hardened_hits=30))
    assert "Fail:" in failing
    assert "30 of 100" in failing
    assert "clean model" not in failing.lower()
    assert "Inconclusive:" in render_page(make_report(hardened_hits=3))


def test_a_partial_report_never_passes(make_report: Any) -> None:
    page = render_page(make_report().model_copy(update={"shortfalls": ("the time was over",)}))
    assert "Inconclusive:" in page
    assert "<strong>the time was over</strong>" in page


def test_a_report_without_curves_control_or_trials_is_shown(make_report: Any) -> None:
    report = make_report()
    arms = ("base", "hardened")
    probes = tuple(
        probe.model_copy(update={"arms": {arm: Hits(hits=0, trials=0, unscorable=5) for arm in arms}})
        for probe in report.probes
    )
    bare = report.model_copy(
        update={
            "arms": arms,
            "probes": probes,
            "quality": {arm: report.quality[arm] for arm in arms},
            "curves": (),
            "suspicious_rows": (),
        }
    )
    page = render_page(bare)
    assert "no scorable output" in page
    assert "5 unscorable" in page
    assert "How early it was learnt" not in page
    assert "does not prove" in page


def test_curves_need_two_epochs(make_report: Any) -> None:
    curves = publish(make_report()).curves
    assert draw_curves(curves[:1]) is None
    drawn = draw_curves(curves)
    assert drawn is not None
    assert 'class="band control"' in drawn
    none_scorable = [point.model_copy(update={"asr": Rate(hits=0, trials=0)}) for point in curves]
    assert draw_curves(none_scorable) is not None


@given(places=st.lists(st.floats(0, 100), max_size=3))
def test_labels_never_lie_on_each_other(places: list[float]) -> None:
    moved = spread(sorted(places), gap=14.0, lowest=104.0)
    assert all(b - a >= 14.0 - 1e-6 for a, b in pairwise(moved))
    assert all(place <= 104.0 + 1e-6 for place in moved)


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_an_axis_holds_all_its_values(values: list[float]) -> None:
    ticks = nice_range(values, steps=3, floor=0.0, ceiling=100.0)
    assert ticks == sorted(ticks)
    assert len(ticks) >= 2
    assert ticks[0] <= min(values) + 1e-6
    assert ticks[-1] >= max(values) - 1e-6


def test_a_scale_maps_ends_to_ends() -> None:
    scale = Scale(low=0, high=10, start=100, end=0)
    assert (scale(0), scale(10), scale(5), scale(99)) == (100, 0, 50, 0)
    assert Scale(low=1, high=1, start=0, end=10)(1) == 5
