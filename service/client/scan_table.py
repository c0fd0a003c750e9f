"""The findings of a scan for a terminal: plain text, no escapes, the same in a pipeline's log."""

from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import ScanFindings
from service.reports.visible import one_line

LEAST_REASON_CHARS = 40
HEAD = ("row", "score", "found by", "reason")


def scan_table(findings: ScanFindings, *, top: int, width: int) -> str:
    """The most suspicious rows, at most ``top`` of them, on lines of about ``width`` characters."""
    name = one_line(findings.filename, limit=80)
    if not findings.suspicious:
        said = f"{name}: nothing found by these detectors in {findings.rows} rows\n"
        return said + "Rows that are not named are not thereby clean.\n"
    lines = [f"{name}: {findings.suspicious} of {findings.rows} rows are suspicious", ""]
    lines += _columns(findings.listed[:top], width)
    shown = min(top, len(findings.listed))
    if shown < findings.suspicious:
        lines += ["", f"The {shown} most suspicious are shown; --top and --format json show more."]
    return "\n".join(lines) + "\n"


def _columns(rows: tuple[SuspiciousRow, ...], width: int) -> list[str]:
    table = [(str(each.row), f"{each.score:.2f}", ", ".join(each.detectors)) for each in rows]
    widths = [max(len(cells[column]) for cells in (HEAD, *table)) for column in range(3)]
    room = max(LEAST_REASON_CHARS, width - sum(widths) - 2 * 3)
    lines = [_line(HEAD[:3], HEAD[3], widths)]
    lines += [
        _line(cells, one_line(each.reason, limit=room), widths)
        for cells, each in zip(table, rows, strict=True)
    ]
    return lines


def _line(cells: tuple[str, ...], reason: str, widths: list[int]) -> str:
    row, score, detectors = cells
    return f"{row:>{widths[0]}}  {score:>{widths[1]}}  {detectors:<{widths[2]}}  {reason}".rstrip()
