"""``docs/benchmarks.md``: the record in Markdown, written by the benchmark and by nobody else."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

HEADER = """# Benchmarks

Written by `make bench`; the raw numbers, every round's, are in [benchmarks.json](benchmarks.json). Times of
different machines do not compare; the ratios do. Variants take turns within one process, a ratio is the median of
the rounds' ratios, and its quartiles are in brackets. `make bench BENCH_ARGS="--only head --rounds 3"` does a part.
"""


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value == 0.0:
        return "0"
    size = abs(value)
    if size >= 100.0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10.0 else f"{value:.2f}" if size >= 1.0 else f"{value:.3f}"


def range_of(spread: dict[str, Any]) -> str:
    """Quartiles, or nothing where there is one sample only."""
    if len(spread["samples"]) < 2:
        return ""
    return f"[{number(spread['lower'])}, {number(spread['upper'])}]"


def limit_of(bar: dict[str, Any]) -> str:
    """The limit with its direction and unit."""
    unit = "" if bar["unit"] == "x" else f" {bar['unit']}"
    return f"{'≥' if bar['at_least'] else '≤'} {number(bar['limit'])}{unit}"


def where(section: dict[str, Any]) -> str:
    """Machine, date and load in a sentence."""
    one = section["machine"]
    gpu = f", {one['device']}" if one["device"] else ""
    low, high = section["loads"]
    return (
        f"{one['date']}, {one['processor']}, {one['cores']} cores, {one['memory_gib']:.0f} GiB{gpu}, "
        f"Python {one['python']}, torch {one['torch']}, {one['threads']} thread{'s' if one['threads'] != 1 else ''}, "
        f"{section['rounds']} rounds, load average {low:.2f} to {high:.2f}, "
        f"{100 * section['cpu_share']:.0f} % of the core"
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---", *["---:"] * (len(head) - 1)])
    yield from map(_row, rows)
    yield ""


def bar_rows(section: dict[str, Any]) -> list[list[str]]:
    """What, limit, measured with quartiles, met or missed."""
    return [
        [
            bar["what"],
            limit_of(bar),
            f"{number(bar['measured']['median'])} {range_of(bar['measured'])}".strip(),
            "met" if bar["met"] else "MISSED",
        ]
        for bar in section["bars"]
    ]


def measurement_table(section: dict[str, Any], quantity: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one quantity of a section, its variants' ratios to each baseline at the right."""
    chosen = [one for one in section["measurements"] if one["quantity"] == quantity]
    baselines = list(dict.fromkeys(base for one in chosen for base in one["against"]))
    head = [
        quantity,
        f"median, {chosen[0]['unit']}",
        "least",
        "quartiles",
        *(f"/ {base}" for base in baselines),
    ]
    rows = [
        [
            one["variant"],
            number(one["spread"]["median"]),
            number(one["spread"]["minimum"]),
            range_of(one["spread"]),
            *(number(one["against"][base]) if base in one["against"] else "" for base in baselines),
        ]
        for one in chosen
    ]
    return head, rows


def quantities(section: dict[str, Any]) -> list[str]:
    """What was measured, in order."""
    return list(dict.fromkeys(one["quantity"] for one in section["measurements"]))


def _section(section: dict[str, Any]) -> Iterator[str]:
    yield f"## {section['title']}"
    yield ""
    if section["not_measured"]:
        yield f"Not measured: {section['not_measured']}."
        yield ""
        return
    if section["busy"]:
        yield f"**The machine was busy: {section['busy']}. These figures are not to be trusted.**"
        yield ""
    for failure in section["failures"]:
        yield f"**Failed: {failure}**"
        yield ""
    yield ", ".join(f"{name} {value}" for name, value in section["shape"].items()) + "."
    yield ""
    if section["bars"]:
        yield from _table(["ratio", "wanted", "measured", ""], bar_rows(section))
    for quantity in quantities(section):
        yield from _table(*measurement_table(section, quantity))
    for note in section["notes"]:
        yield note
        yield ""
    yield where(section) + "."
    yield ""


def markdown(sections: Sequence[dict[str, Any]], *, header: str = HEADER) -> str:
    """The whole page."""
    lines = [header, *(line for section in sections for line in _section(section))]
    return "\n".join(lines).rstrip() + "\n"
