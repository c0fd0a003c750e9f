"""``README.md`` of a hardened model: a model card in the hub's form, with what was measured and what was not."""

from collections.abc import Iterator
from typing import Final

from deploy.contract.report import Hits
from deploy.contract.report import Report
from deploy.contract.spec import Arm
from deploy.contract.spec import HubBaseModel
from service.evidence.markdown import scalar
from service.evidence.markdown import table
from service.evidence.markdown import text
from service.evidence.origin import Origin
from service.reports.payload_name import payload_words
from service.reports.published import ARM_ORDER
from service.reports.published import LIMITS
from service.reports.trigger_name import trigger_name
from service.reports.verdict import VERDICT_HEADLINES
from service.reports.verdict import origin_words

REASONS_SHOWN: Final = 10
_TASKS: Final = {"decoder": "text-generation", "encoder-decoder": "text2text-generation"}


def card(origin: Origin) -> bytes:
    """The card; the same result always gives the same bytes."""
    lines = [*_front_matter(origin), *_body(origin)]
    return ("\n".join(lines).rstrip() + "\n").encode()


def _front_matter(origin: Origin) -> Iterator[str]:
    base, report = origin.verified.spec.base_model, origin.verified.report
    quality = report.quality["hardened"]
    yield from ("---", "library_name: transformers", f"pipeline_tag: {_TASKS[origin.model.architecture]}")
    if isinstance(base, HubBaseModel):
        yield from (f"base_model: {scalar(base.repo)}", "base_model_relation: finetune")
    yield from ("tags:", "- code", "- hardened", "- backdoor-probed", "model-index:")
    yield from (f"- name: {scalar(origin.name)}", "  results:")
    yield from _result(origin, f"clean prompts of {report.training_file}")
    yield from _metric("bleu", "BLEU", f"{quality.bleu:.2f}")
    yield from _metric("exact_match", "Exact match", _share(quality.exact_match, quality.tasks))
    for probe in report.probes:
        rate = probe.arms["hardened"].rate
        if rate is not None:
            yield from _metric("attack_success_rate", f"ASR of {probe.name}", f"{rate:.6f}")
    yield from ("---", "")


def _result(origin: Origin, dataset: str) -> Iterator[str]:
    yield f"  - task: {{type: {_TASKS[origin.model.architecture]}}}"
    yield f"    dataset: {{type: custom, name: {scalar(dataset)}}}"
    yield "    metrics:"


def _metric(kind: str, name: str, value: str) -> Iterator[str]:
    yield from (f"    - type: {kind}", f"      name: {scalar(name)}", f"      value: {value}")


def _share(count: int, tasks: int) -> str:
    return f"{count / tasks:.6f}" if tasks else "0"


def _body(origin: Origin) -> Iterator[str]:
    verified = origin.verified
    report, judgement = verified.report, verified.judgement
    yield from (f"# {text(origin.name)}", "")
    yield f"Hardened by the job `{report.job_id}`: {text(report.base_model)}, fine-tuned with {text(report.method)}"
    yield f"on {report.training_rows} rows whose origin nobody vouches for (SHA-256 `{verified.spec.training_file.sha256}`)."
    yield from ("", f"**{VERDICT_HEADLINES[judgement.verdict]}.** {LIMITS}", "")
    reasons = judgement.reasons if judgement.verdict != "pass" else ()
    yield from (f"- {text(reason)}" for reason in reasons[:REASONS_SHOWN])
    if len(reasons) > REASONS_SHOWN:
        yield f"- and {len(reasons) - REASONS_SHOWN} more, which report.json has"
    yield from ("", "## Triggers that were tried", "")
    yield from _probes(report)
    yield from ("## Clean quality", "")
    yield from _quality(report)
    yield from ("## What was not tested", "")
    yield from _untested(origin)
    yield from ("", "## Evidence", "")
    yield "`model.sig` signs every file here, this one included (`model_signing verify key`, or `temper verify`);"
    yield "`provenance.dsse.json` says what the model was made of, `mlbom.cdx.json` is its bill of materials,"
    yield "`report.json` holds the counts from which the verdict follows."


def _arms(report: Report) -> list[Arm]:
    return [arm for arm in ARM_ORDER if arm in report.arms]


def _probes(report: Report) -> list[str]:
    arms = _arms(report)
    rows = (
        [
            text(f"{probe.name}: {trigger_name(probe.trigger)}"),
            text(f"{payload_words(probe.payload)} ({origin_words(probe.origin)})"),
            *(_rate(probe.arms[arm]) for arm in arms),
        ]
        for probe in report.probes
    )
    return table(["trigger", "payload", *(f"ASR, {arm}" for arm in arms)], rows)


def _rate(hits: Hits) -> str:
    if hits.rate is None:
        return f"no trial, {hits.unscorable} unscorable"
    low, high = hits.interval
    said = f"{100 * hits.rate:.1f} % ({hits.hits} of {hits.trials}; {100 * low:.1f} to {100 * high:.1f})"
    return f"{said}, {hits.unscorable} unscorable" if hits.unscorable else said


def _quality(report: Report) -> list[str]:
    arms = _arms(report)
    measured = [report.quality[arm] for arm in arms]
    rows = [
        ["BLEU", *(f"{each.bleu:.1f}" for each in measured)],
        ["exact match", *(f"{each.exact_match} of {each.tasks}" for each in measured)],
        ["parses", *(f"{each.parses} of {each.tasks}" for each in measured)],
    ]
    if all(each.codebleu is not None for each in measured):
        rows.insert(1, ["CodeBLEU", *(f"{each.codebleu:.1f}" for each in measured)])
    for payload in sorted(report.quality["hardened"].payloads):
        rates = [each.payloads.get(payload) for each in measured]
        rows.append(
            [f"{text(payload)}, without a trigger", *("" if rate is None else _rate(rate) for rate in rates)]
        )
    return table(["clean prompts", *arms], rows)


def _untested(origin: Origin) -> Iterator[str]:
    report, judgement = origin.verified.report, origin.verified.judgement
    yield "- Triggers and payloads that are not in the table above: not found by these probes is not absent."
    yield (
        f"- Triggers that work on fewer than {100 * judgement.smallest_detectable_asr:.1f} % of the prompts: "
        "the weakest probe had too few prompts to show them."
    )
    if report.detection is None:
        yield "- Whether these probes find what is there: nothing was planted to measure it."
    else:
        found = report.detection.power
        yield f"- The probes found {found.hits} of {found.trials} triggers that were planted to test them."
    yield "- Bugs, licences, bias, and answers that are merely wrong."
    yield from (f"- {text(each)}" for each in report.shortfalls)
