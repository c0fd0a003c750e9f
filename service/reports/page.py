"""The report as one HTML page: no script, nothing fetched, every text escaped by the template."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment
from jinja2 import StrictUndefined
from jinja2 import Template
from markupsafe import Markup

from deploy.contract.report import Example
from deploy.contract.report import Judgement
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.report import judge
from deploy.contract.spec import Arm
from service.reports.curve_chart import draw_curves
from service.reports.probe_chart import draw_probes
from service.reports.summary import LIMITS
from service.reports.verdict import headline
from service.reports.verdict import one_sentence
from service.reports.verdict import percent
from service.reports.visible import Segment
from service.reports.visible import mark_payload
from service.reports.visible import mark_trigger
from service.reports.visible import one_line
from service.reports.visible import shows_payload

ARM_ORDER: tuple[Arm, ...] = ("base", "control", "hardened")
EXAMPLES_PER_PROBE = 4
EXAMPLE_CHARACTERS = 3000
ROWS_SHOWN = 100


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


def _shown(example: Example, probe: ProbeOutcome) -> ShownExample:
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
    prompt = mark_trigger(example.prompt[:EXAMPLE_CHARACTERS], probe.trigger.word)
    return ShownExample(task=example.task, prompt=prompt, completions=completions)


def _telling(example: ShownExample) -> tuple[bool, bool]:
    """Sorts first what a reader must not miss: the hardened arm's payloads, then the other arms'."""
    fired = {completion.arm for completion in example.completions if completion.has_payload}
    return "hardened" not in fired, not fired


def shown_examples(probe: ProbeOutcome) -> tuple[ShownExample, ...]:
    """The few examples of a probe that the page shows."""
    every = sorted((_shown(example, probe) for example in probe.examples), key=_telling)
    return tuple(every[:EXAMPLES_PER_PROBE])


@cache
def _style() -> str:
    return resources.files("service.reports").joinpath("report.css").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "line": one_line}
    source = resources.files("service.reports").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def security_headers() -> Mapping[str, str]:
    """Of every answer that carries the page: nothing runs, nothing loads, nothing frames it."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; sandbox"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
    }


def _strongest(report: Report) -> ProbeOutcome:
    """The probe that did most to the arm that was not hardened, so that its examples come first."""
    arm: Arm = "control" if "control" in report.arms else "base"
    return max(report.probes, key=lambda probe: probe.arms[arm].rate or 0.0)


def render_page(report: Report) -> str:
    """The page of a believed report (see :mod:`service.reports.trust`)."""
    judgement: Judgement = judge(report)
    strongest = _strongest(report)
    ordered = (strongest, *(probe for probe in report.probes if probe is not strongest))
    arms = tuple(arm for arm in ARM_ORDER if arm in report.arms)
    limit = report.policy.max_asr_upper
    return _template().render(
        style=Markup(_style()),  # noqa: S704 - our own file, and the policy names its hash
        report=report,
        judgement=judgement,
        headline=headline(judgement),
        sentence=one_sentence(report, judgement, strongest),
        arms=arms,
        strongest=strongest,
        probes=ordered,
        examples={probe.name: shown_examples(probe) for probe in ordered},
        curves=(draw_curves(report.curves), draw_curves(report.curves, narrow=True)),
        bars=(
            draw_probes(report.probes, arms, limit=limit),
            draw_probes(report.probes, arms, limit=limit, narrow=True),
        ),
        rows=report.suspicious_rows[:ROWS_SHOWN],
        limits=LIMITS,
    )
