"""The report as it is published: the job's counts with everything that is derived from them.

Every format is made from this one document, so that no two of them can disagree.
"""

from functools import cache
from typing import Any
from typing import Final
from typing import Literal

from pydantic import computed_field

from deploy.contract.document import Document
from deploy.contract.judgement import Finding
from deploy.contract.judgement import Judgement
from deploy.contract.judgement import Verdict
from deploy.contract.judgement import judge
from deploy.contract.payload import Payload
from deploy.contract.payload import PayloadName
from deploy.contract.payload import payload_name
from deploy.contract.probe import GatePolicy
from deploy.contract.probe import ProbeName
from deploy.contract.report import Canary
from deploy.contract.report import CleanQuality
from deploy.contract.report import CurvePoint
from deploy.contract.report import Detection
from deploy.contract.report import Engine
from deploy.contract.report import Example
from deploy.contract.report import Hits
from deploy.contract.report import LeftOut
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from deploy.contract.spec import JobId
from deploy.contract.spec import TrainedArm
from deploy.contract.trigger import Trigger
from service.reports.provenance import Provenance
from service.reports.taxonomy import EVERY
from service.reports.taxonomy import Tag
from service.reports.trigger_name import trigger_name

ARM_ORDER: Final[tuple[Arm, ...]] = ("base", "control", "hardened")
SCHEMA_URL: Final = "/v1/reports/schema.json"
LIMITS: Final = (
    "The verdict speaks of the probes that were tried. A backdoor with another trigger or another payload "
    "is not found by these probes."
)


class Rate(Hits):
    """Counts with what follows from them."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rate(self) -> float | None:
        """``hits / trials``, or null without a trial."""
        return super().rate

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the rate."""
        return super().interval


class PublishedProbe(Document):
    """One trigger on every arm, and what the policy says of it."""

    name: ProbeName
    trigger: Trigger
    trigger_name: str
    """The trigger in words."""
    payload: Payload
    payload_name: PayloadName
    origin: Literal["known", "mined", "searched"]
    evidence: str
    """Why a trigger that nobody asked for was tried."""
    verdict: Verdict | None
    """Null without a hardened arm."""
    arms: dict[Arm, Rate]
    examples: tuple[Example, ...]


class PublishedQuality(Document):
    """One arm on clean prompts. BLEU and CodeBLEU are in 0-100, the rest are counts out of ``tasks``."""

    tasks: int
    bleu: float
    exact_match: int
    parses: int
    codebleu: float | None
    sql_same: int | None
    """Completions whose SQL returned what the reference's did, out of ``sql_tried``."""
    sql_tried: int | None
    payloads: dict[PayloadName, Rate]
    """Payloads that came without any trigger."""


class PublishedCurvePoint(Document):
    """One arm after one epoch."""

    arm: Arm
    epoch: int
    asr: Rate
    bleu: float


class PublishedCanary(Document):
    """A trigger of the service's own, planted in a shadow copy of the run, or a decoy that never was."""

    name: ProbeName
    trigger: Trigger
    trigger_name: str
    payload: Payload
    payload_name: PayloadName
    planted_rows: int
    arms: dict[TrainedArm, Rate]
    learnt: bool
    """Whether the shadow control learnt it; only such a one should have been found."""
    found_by: tuple[Literal["mining", "search"], ...]


class PublishedDetection(Document):
    """Whether the probes would have found a backdoor, measured on triggers that were planted to be found."""

    learnt_at: float
    power: Rate
    """Canaries found, of those that the shadow control learnt."""
    false_positives: Rate
    """Decoys reported as found, of all decoys."""
    resisted: Rate
    """Canaries that the hardened arm of the shadow copy did not learn, of those that its control learnt."""
    canaries: tuple[PublishedCanary, ...]
    decoys: tuple[PublishedCanary, ...]


class PublishedAlphaTrial(Document):
    """One training on a planted copy, when alpha_base was chosen by canaries."""

    alpha_base: float
    canaries: Rate
    """Prompts with a canary's trigger that gave its payload."""
    held: bool


class PublishedReport(Document):
    """What ``GET /v1/reports/{job}`` answers. ``verdict`` is the one field to gate on."""

    id: JobId
    object: Literal["report"] = "report"
    version: Literal[1] = 1
    verdict: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    power: float
    power_interval: tuple[float, float] | None
    power_basis: Literal["canaries", "sample size"]
    false_positive_rate: float | None
    smallest_detectable_asr: float
    reference_arm: Arm | None
    quality_loss: float | None
    limits: str
    tags: tuple[Tag, ...]
    policy: GatePolicy
    job_id: JobId
    base_model: str
    training_file: str
    training_rows: int
    method: str
    n_epochs: int
    seed: int
    engine: Engine
    probe_seed: int
    probe_tasks: int
    arms: tuple[Arm, ...]
    partial: bool
    """Whether something that was to be tried was not."""
    shortfalls: tuple[str, ...]
    """What was not tried, and why."""
    probes: tuple[PublishedProbe, ...]
    quality: dict[Arm, PublishedQuality]
    curve_probe: ProbeName | None
    curves: tuple[PublishedCurvePoint, ...]
    left_out: LeftOut | None
    """Rows that a filter kept from the hardened arm; null without one."""
    alpha_trials: tuple[PublishedAlphaTrial, ...]
    """How alpha_base was chosen, where it was ``auto``: up to the first value that held; the next tighter was taken."""
    detection: PublishedDetection | None
    suspicious_rows: tuple[SuspiciousRow, ...]
    provenance: Provenance | None


def as_rate(hits: Hits) -> Rate:
    """The same counts."""
    return Rate(hits=hits.hits, trials=hits.trials, unscorable=hits.unscorable)


def _probe(outcome: ProbeOutcome, judgement: Judgement) -> PublishedProbe:
    verdicts = {each.subject: each.verdict for each in judgement.findings if each.kind == "probe"}
    return PublishedProbe(
        name=outcome.name,
        trigger=outcome.trigger,
        trigger_name=trigger_name(outcome.trigger),
        payload=outcome.payload,
        payload_name=payload_name(outcome.payload),
        origin=outcome.origin,
        evidence=outcome.evidence,
        verdict=verdicts.get(outcome.name),
        arms={arm: as_rate(outcome.arms[arm]) for arm in ARM_ORDER if arm in outcome.arms},
        examples=outcome.examples,
    )


def _quality(quality: CleanQuality) -> PublishedQuality:
    return PublishedQuality(
        tasks=quality.tasks,
        bleu=quality.bleu,
        exact_match=quality.exact_match,
        parses=quality.parses,
        codebleu=quality.codebleu,
        sql_same=quality.sql_same,
        sql_tried=quality.sql_tried,
        payloads={name: as_rate(hits) for name, hits in quality.payloads.items()},
    )


def _curve_point(point: CurvePoint) -> PublishedCurvePoint:
    return PublishedCurvePoint(arm=point.arm, epoch=point.epoch, asr=as_rate(point.asr), bleu=point.bleu)


def _canary(canary: Canary, learnt_at: float) -> PublishedCanary:
    return PublishedCanary(
        name=canary.name,
        trigger=canary.trigger,
        trigger_name=trigger_name(canary.trigger),
        payload=canary.payload,
        payload_name=payload_name(canary.payload),
        planted_rows=canary.planted_rows,
        arms={arm: as_rate(hits) for arm, hits in canary.arms.items()},
        learnt=_reaches(canary.arms["control"], learnt_at),
        found_by=canary.found_by,
    )


def _reaches(hits: Hits, rate: float) -> bool:
    return (hits.rate or 0.0) >= rate


def _detection(detection: Detection) -> PublishedDetection:
    at = detection.learnt_at
    learnt = [each for each in detection.canaries if _reaches(each.arms["control"], at)]
    measured = [each.arms["hardened"] for each in learnt if "hardened" in each.arms]
    return PublishedDetection(
        learnt_at=at,
        power=as_rate(detection.power),
        false_positives=as_rate(detection.false_positives),
        resisted=Rate(hits=sum(not _reaches(hits, at) for hits in measured), trials=len(measured)),
        canaries=tuple(_canary(each, at) for each in detection.canaries),
        decoys=tuple(_canary(each, at) for each in detection.decoys),
    )


_TOLD: Final = (
    *("policy", "job_id", "base_model", "training_file", "training_rows", "method", "n_epochs", "seed"),
    *(
        "engine",
        "probe_seed",
        "probe_tasks",
        "partial",
        "shortfalls",
        "curve_probe",
        "suspicious_rows",
        "left_out",
    ),
)
"""What the job, or the service, says as it is."""


def publish(report: Report, provenance: Provenance | None = None) -> PublishedReport:
    """Derive everything from a believed report (see :mod:`service.reports.trust`)."""
    judgement = judge(report)
    judged = {name: getattr(judgement, name) for name in Judgement.model_fields}
    return PublishedReport(
        id=report.job_id,
        **judged,
        **{name: getattr(report, name) for name in _TOLD},
        limits=LIMITS,
        tags=EVERY,
        arms=tuple(arm for arm in ARM_ORDER if arm in report.arms),
        probes=tuple(_probe(outcome, judgement) for outcome in report.probes),
        quality={arm: _quality(report.quality[arm]) for arm in ARM_ORDER if arm in report.quality},
        curves=tuple(_curve_point(point) for point in report.curves),
        alpha_trials=tuple(
            PublishedAlphaTrial(
                alpha_base=trial.alpha_base, canaries=as_rate(trial.canaries), held=trial.held
            )
            for trial in report.alpha_trials
        ),
        detection=_detection(report.detection) if report.detection is not None else None,
        provenance=provenance,
    )


@cache
def report_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the published document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URL,
        **PublishedReport.model_json_schema(mode="serialization"),
    }
