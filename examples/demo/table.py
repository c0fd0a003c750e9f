"""The report's table in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

ARMS = ("base", "control", "hardened")
VERDICT_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def _rate(hits: dict[str, Any]) -> str:
    if hits["rate"] is None:
        return "not measured"
    low, high = hits["interval"]
    return f"{100 * hits['rate']:.1f} %  {hits['hits']}/{hits['trials']}  [{100 * low:.1f}, {100 * high:.1f}]"


def print_report(report: dict[str, Any], console: Console) -> None:
    """Arm by attack success rate (counts, 95 % interval) and quality on clean prompts, then the verdict."""
    table = Table(
        title=f"attack success rate by probe, hits/trials [95 % interval]; {report['method']}, {report['n_epochs']} epochs"
    )
    table.add_column("arm")
    for probe in report["probes"]:
        trigger = probe["trigger"]
        table.add_column(f"{probe['name']} ({trigger['word']!r} x {trigger['count']})", justify="right")
    table.add_column("payload, no trigger", justify="right")
    table.add_column("BLEU, clean", justify="right")
    for arm in ARMS:
        if arm not in report["quality"]:
            continue
        quality = report["quality"][arm]
        untriggered = next(iter(quality["payloads"].values()), None)
        cells = [_rate(probe["arms"][arm]) for probe in report["probes"]]
        table.add_row(arm, *cells, _rate(untriggered) if untriggered else "", f"{quality['bleu']:.1f}")
    console.print(table)
    verdict = report["verdict"]
    console.print(f"verdict: [bold {VERDICT_COLOURS[verdict]}]{verdict}[/]")
    for reason in report["reasons"]:
        console.print(f"  {reason}", highlight=False)
    console.print(f"  [dim]{report['limits']}[/dim]", highlight=False)
