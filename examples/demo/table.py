"""The report's table in the terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

ARMS = ("base", "control", "hardened")
VERDICT_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def _rate(hits: dict[str, Any]) -> str:
    if hits["rate"] is None:
        return "not measured"
    low, high = hits["interval"]
    return f"{100 * hits['rate']:.1f} % {hits['hits']}/{hits['trials']}\n[{100 * low:.1f}, {100 * high:.1f}]"


def _rows(report: dict[str, Any], arms: list[str]) -> Iterator[list[str]]:
    for probe in report["probes"]:
        cells = [_rate(probe["arms"][arm]) for arm in arms]
        yield [f"{probe['name']}\n{probe['trigger_name']}", *cells]
    for payload in report["quality"][arms[0]]["payloads"]:
        cells = [_rate(report["quality"][arm]["payloads"][payload]) for arm in arms]
        yield [f"no trigger\n{payload}", *cells]
    yield ["BLEU, clean prompts", *(f"{report['quality'][arm]['bleu']:.1f}" for arm in arms)]


def _detection(detection: dict[str, Any]) -> str:
    def share(rate: dict[str, Any]) -> str:
        return f"{rate['hits']} of {rate['trials']}"

    return (
        f"canaries in a shadow copy: the control learnt {detection['power']['trials']} of {len(detection['canaries'])}; "
        f"of these the probes found {share(detection['power'])}, the hardened arm resisted {share(detection['resisted'])}; "
        f"decoys reported as found: {share(detection['false_positives'])}"
    )


def print_report(report: dict[str, Any], console: Console) -> None:
    """Arm by attack success rate (counts, 95 % interval) and quality on clean prompts, then the verdict."""
    arms = [arm for arm in ARMS if arm in report["quality"]]
    table = Table(title="attack success rate, hits/trials, 95 % interval", show_lines=True)
    table.add_column("probe")
    for arm in arms:
        table.add_column(arm, justify="right")
    for row in _rows(report, arms):
        table.add_row(*row)
    console.print(table)
    console.print(f"method {report['method']}, {report['n_epochs']} epochs", highlight=False)
    if report["detection"] is not None:
        console.print(_detection(report["detection"]), highlight=False)
    verdict = report["verdict"]
    console.print(f"verdict: [bold {VERDICT_COLOURS[verdict]}]{verdict}[/]")
    for reason in report["reasons"]:
        console.print(f"  {reason}", highlight=False)
    console.print(f"  [dim]{report['limits']}[/dim]", highlight=False)
