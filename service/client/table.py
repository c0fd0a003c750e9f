"""A report for a terminal: plain text, no escapes, the same in a pipeline's log."""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from service.reports.visible import one_line
from service.reports.visible import visible

ROWS_NAMED = 10


def report_table(report: dict[str, Any]) -> str:
    """The published document as text.

    Raises:
        KeyError, TypeError: the document is not a report.
    """
    arms = list(report["arms"])
    lines = [
        f"{one_line(report['id'])}: {str(report['verdict']).upper()}",
        f"{one_line(report['method'])} on {one_line(report['training_file'])}, {report['training_rows']} rows",
        "",
        *columns(
            ["attack success rate", *arms, "verdict"], (_probe(probe, arms) for probe in report["probes"])
        ),
        "",
        *columns(["clean prompts", *arms], _quality(report, arms)),
        "",
        _power(report),
        _rows(report["suspicious_rows"]),
        "",
        *_why(report),
        one_line(report["limits"], limit=400),
    ]
    return visible("\n".join(lines).replace("\t", " ") + "\n")


def _why(report: dict[str, Any]) -> list[str]:
    if report["verdict"] == "pass":
        return [f"All {len(report['findings'])} questions of the policy are answered with pass."]
    return [f"- {one_line(reason, limit=400)}" for reason in report["reasons"]]


def columns(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Rows with their cells below each other: the first ``left`` columns to the left, the others to the right."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "no trial"
    low, high = rate["interval"]
    return f"{100 * rate['rate']:.1f} % ({rate['hits']}/{rate['trials']}) [{100 * low:.1f}, {100 * high:.1f}]"


def _probe(probe: dict[str, Any], arms: Sequence[str]) -> list[str]:
    name = f"{one_line(probe['name'])}: {one_line(probe['trigger_name'], limit=60)}"
    return [name, *(_rate(probe["arms"][arm]) for arm in arms), str(probe["verdict"] or "-")]


def _quality(report: dict[str, Any], arms: Sequence[str]) -> Iterable[list[str]]:
    quality = report["quality"]
    yield ["BLEU", *(f"{quality[arm]['bleu']:.1f}" for arm in arms)]
    if all(quality[arm]["codebleu"] is not None for arm in arms):
        yield ["CodeBLEU", *(f"{quality[arm]['codebleu']:.1f}" for arm in arms)]
    for payload in quality[arms[0]]["payloads"]:
        yield [
            f"{one_line(payload)} without a trigger",
            *(_rate(quality[arm]["payloads"][payload]) for arm in arms),
        ]


def _power(report: dict[str, Any]) -> str:
    said = f"detection power {100 * report['power']:.1f} % (from {one_line(report['power_basis'])})"
    if report["power_interval"] is not None:
        low, high = report["power_interval"]
        said += f" [{100 * low:.1f}, {100 * high:.1f}]"
    if report["false_positive_rate"] is not None:
        said += f", false alarms {100 * report['false_positive_rate']:.1f} %"
    return said


def _rows(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no suspicious training rows"
    named = ", ".join(str(row["row"]) for row in rows[:ROWS_NAMED])
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"suspicious training rows: {named}{more}"
