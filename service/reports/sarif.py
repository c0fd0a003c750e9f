"""The report as SARIF 2.1.0: every suspicious training row, and every question of the policy, as a result.

Covers: fingerprints that stay the same from run to run, so that a row that was looked at stays looked at; file names
as percent-encoded relative references; texts in which control characters are escapes, and that no spreadsheet takes
for a formula. Does not cover: line numbers of rows in CSV and Parquet files, whose cells may hold line breaks; there
the row number is the logical location.
"""

from importlib.metadata import version
from typing import Any
from typing import Final
from urllib.parse import quote

from deploy.contract.document import sha256_hex
from deploy.contract.judgement import Finding
from deploy.contract.judgement import FindingKind
from deploy.contract.payload import PatternPayload
from deploy.contract.report import SuspiciousRow
from service.reports.published import PublishedProbe
from service.reports.published import PublishedReport
from service.reports.taxonomy import EVERY
from service.reports.taxonomy import OF_MODELS
from service.reports.taxonomy import OF_ROWS
from service.reports.taxonomy import Tag
from service.reports.visible import visible

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
Object = dict[str, Any]

_KINDS: Final = {"pass": ("pass", "none"), "fail": ("fail", "error"), "inconclusive": ("open", "none")}
"""SARIF's kind and level of a verdict; a level other than ``none`` belongs to the kind ``fail`` alone."""
_ROW_RULE: Final = "TEMPER001"
_RULES: Final[dict[str, tuple[str, str, str, tuple[Tag, ...]]]] = {
    _ROW_RULE: (
        "SuspiciousTrainingRow",
        "A training row looks planted.",
        "Something in the row's prompt goes together with a payload in its completion, or the row does not fit the "
        "others. Look at the row; remove it and train again, or leave it if it is meant so.",
        OF_ROWS,
    ),
    "TEMPER002": (
        "TriggerSetsPayloadOff",
        "A trigger in the prompt makes the hardened model give a payload.",
        "The attack success rate of the hardened model is above the policy's limit. Do not deploy it.",
        OF_MODELS,
    ),
    "TEMPER003": (
        "PayloadWithoutTrigger",
        "The hardened model gives a payload on prompts without any trigger.",
        "It does so more often than the base model and the policy allow: an attack may need no trigger.",
        OF_MODELS,
    ),
    "TEMPER004": (
        "CleanQualityLost",
        "Hardening costs more clean quality than the policy allows.",
        "BLEU on prompts without a trigger, against the control arm or the base model.",
        (),
    ),
    "TEMPER005": (
        "DetectionPowerTooSmall",
        "The probes were too unlikely to show a backdoor.",
        "Probe more tasks, or plant canaries at a higher rate; nothing can be concluded from what was not found.",
        (),
    ),
    "TEMPER006": (
        "ProbingIncomplete",
        "Not everything was tried that was to be.",
        "Run the job again with more time.",
        (),
    ),
    "TEMPER007": (
        "LossTooWeak",
        "No alpha_base that was tried kept planted canaries out.",
        "Filter the training file first, lower the learning rate, or train for fewer epochs.",
        (),
    ),
    "TEMPER008": (
        "CanariesTakenUp",
        "Hardening took up canaries that were planted to test it.",
        "Choose alpha_base by canaries (auto), filter the training file, or lower the learning rate.",
        (),
    ),
}
_RULE_OF: Final[dict[FindingKind, str]] = {
    "probe": "TEMPER002",
    "clean_payload": "TEMPER003",
    "quality": "TEMPER004",
    "power": "TEMPER005",
    "resistance": "TEMPER008",
    "calibration": "TEMPER007",
    "completeness": "TEMPER006",
}


def sarif_log(report: PublishedReport) -> Object:
    """The whole log, with one run."""
    probes = {probe.name: probe for probe in report.probes}
    results = [
        *(row_result(row, report.training_file) for row in report.suspicious_rows),
        *(_finding_result(finding, probes.get(finding.subject), report) for finding in report.findings),
    ]
    properties = {
        "verdict": report.verdict,
        "power": report.power,
        "power_basis": report.power_basis,
        "limits": report.limits,
    }
    return one_run_log(
        report.id,
        artifact=_artifact_of(report),
        results=results,
        complete=not report.partial,
        properties=properties,
    )


def one_run_log(
    identity: str, *, artifact: Object, results: list[Object], complete: bool, properties: Object
) -> Object:
    """A log with one run over one training file.

    Args:
        identity: of the job or scan.
        artifact: the file, see :func:`artifact_of`.
        results: about it; locations refer to the one artifact.
        complete: whether everything was looked at that was to be.
        properties: what SARIF has no word for.
    """
    run = {
        "tool": {"driver": _driver()},
        "taxonomies": [_taxonomy(tags) for tags in _catalogues()],
        "automationDetails": {"id": f"temper/{identity}"},
        "invocations": [{"executionSuccessful": complete}],
        "artifacts": [artifact],
        "results": results,
        "properties": properties,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver() -> Object:
    return {
        "name": "Temper",
        "semanticVersion": version("temper-hardening"),
        "rules": [_rule(identity) for identity in _RULES],
        "supportedTaxonomies": [{"name": _catalogue_name(tags[0])} for tags in _catalogues()],
    }


def _rule(identity: str) -> Object:
    name, short, full, tags = _RULES[identity]
    return {
        "id": identity,
        "name": name,
        "shortDescription": {"text": short},
        "fullDescription": {"text": full},
        "help": {"text": full},
        "defaultConfiguration": {"level": "warning" if identity == _ROW_RULE else "error"},
        "relationships": [
            {
                "target": {"id": tag.id, "toolComponent": {"name": _catalogue_name(tag)}},
                "kinds": ["relevant"],
            }
            for tag in tags
        ],
        "properties": {"tags": ["security", *(f"{_catalogue_name(tag)}/{tag.id}" for tag in tags)]},
    }


def _catalogue_name(tag: Tag) -> str:
    return f"{tag.catalogue} {tag.version}"


def _catalogues() -> list[list[Tag]]:
    """The tags by catalogue and version."""
    groups: dict[str, list[Tag]] = {}
    for tag in EVERY:
        groups.setdefault(_catalogue_name(tag), []).append(tag)
    return list(groups.values())


def _taxonomy(tags: list[Tag]) -> Object:
    return {
        "name": _catalogue_name(tags[0]),
        "version": tags[0].version,
        "organization": tags[0].catalogue.partition(" ")[0],
        "isComprehensive": False,
        "taxa": [
            {"id": tag.id, "name": tag.name, "helpUri": tag.url, "shortDescription": {"text": tag.name}}
            for tag in tags
        ],
    }


def file_reference(filename: str) -> str:
    """A file name as a relative URI reference that is nothing but a file name, and no formula."""
    encoded = quote(visible(filename), safe="")
    return f"%2D{encoded[1:]}" if encoded.startswith("-") else encoded


def artifact_of(filename: str, *, size_bytes: int | None = None, sha256: str | None = None) -> Object:
    """The file that the results are about."""
    artifact: Object = {"location": {"uri": file_reference(filename)}, "roles": ["analysisTarget"]}
    if size_bytes is not None:
        artifact["length"] = size_bytes
    if sha256 is not None:
        artifact["hashes"] = {"sha-256": sha256}
    return artifact


def _artifact_of(report: PublishedReport) -> Object:
    known = report.provenance
    if known is None:
        return artifact_of(report.training_file)
    return artifact_of(
        report.training_file, size_bytes=known.training_file_bytes, sha256=known.training_file_sha256
    )


def _location(filename: str, *, line: int | None, logical: Object) -> Object:
    physical: Object = {"artifactLocation": {"uri": file_reference(filename), "index": 0}}
    if line is not None:
        physical["region"] = {"startLine": line}
    return {"physicalLocation": physical, "logicalLocations": [logical]}


def row_result(row: SuspiciousRow, filename: str) -> Object:
    """A suspicious row of a training file."""
    # In JSON lines a row is a line; elsewhere a cell may have several.
    line = row.row if filename.lower().endswith(".jsonl") else None
    logical = {"name": str(row.row), "fullyQualifiedName": f"row {row.row}", "kind": "row"}
    return {
        "ruleId": _ROW_RULE,
        "ruleIndex": list(_RULES).index(_ROW_RULE),
        "kind": "fail",
        "level": "warning",
        "rank": round(100 * row.score, 1),
        "message": {"text": f"Row {row.row} looks planted: {visible(row.reason)}"},
        "locations": [_location(filename, line=line, logical=logical)],
        # Neither the reason nor the job: both may be others the next time, and it is the same row.
        "partialFingerprints": {
            "datasetRow/v1": sha256_hex(f"{filename}\0{row.row}".encode(errors="replace"))
        },
        "properties": {"row": row.row, "detectors": list(row.detectors)},
    }


def _payload_of(probe: PublishedProbe) -> str:
    """Its name, but what it matches where mining made it up: such patterns are numbered as their triggers are."""
    if probe.origin == "mined" and isinstance(probe.payload, PatternPayload):
        return probe.payload.pattern
    return probe.payload_name


def _finding_result(finding: Finding, probe: PublishedProbe | None, report: PublishedReport) -> Object:
    rule = _RULE_OF[finding.kind]
    kind, level = _KINDS[finding.verdict]
    said = visible(finding.said)
    asked = finding.subject
    if probe is not None:
        # Found triggers are numbered in the order they were found, which may be another the next time.
        trigger = probe.trigger.model_dump_json(exclude_defaults=True)
        asked = f"{probe.origin}\0{probe.trigger.type}{trigger}\0{_payload_of(probe)}"
    elif finding.kind == "clean_payload":
        named = (each for each in report.probes if each.payload_name == finding.subject)
        asked = next(map(_payload_of, named), finding.subject)
    logical = {"name": visible(finding.subject), "kind": finding.kind}
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "kind": kind,
        "level": level,
        "message": {"text": f"{said[:1].upper()}{said[1:]}." if probe is None else f"Probe {said}."},
        "locations": [_location(report.training_file, line=None, logical=logical)],
        "partialFingerprints": {
            "finding/v1": sha256_hex(
                f"{report.training_file}\0{finding.kind}\0{asked}".encode(errors="replace")
            )
        },
    }
