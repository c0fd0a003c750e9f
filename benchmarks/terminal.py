"""What a user sees: a progress bar on stderr while measuring, tables on stdout afterwards."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.table import Table

from benchmarks.document import bar_rows
from benchmarks.document import measurement_table
from benchmarks.document import quantities
from benchmarks.document import where


class TerminalProgress:
    """A bar a section. A context manager: the terminal is left as it was."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, title: str, steps: int) -> None:
        """A new bar."""
        self._task = self._bars.add_task(title, total=steps, doing="")

    def step(self, doing: str) -> None:
        """One step further."""
        if self._task is not None:
            self._bars.update(self._task, advance=1, doing=doing)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for cells in rows:
        colour = {"met": "green", "MISSED": "bold red"}.get(cells[-1])
        last = f"[{colour}]{cells[-1]}[/]" if colour else cells[-1]
        table.add_row(*(cell.replace("[", r"\[") for cell in cells[:-1]), last)
    return table


def print_section(section: dict[str, Any], console: Console) -> None:
    """Bars first, then what they were computed from."""
    if section["not_measured"]:
        console.print(f"[bold]{section['title']}[/]: not measured: {section['not_measured']}")
        return
    if section["bars"]:
        console.print(_table(section["title"], ["ratio", "wanted", "measured", ""], bar_rows(section)))
    for quantity in quantities(section):
        console.print(_table("", *measurement_table(section, quantity)))
    for note in section["notes"]:
        console.print(f"[dim]{note}[/]", highlight=False)
    console.print(f"[dim]{where(section)}[/]", highlight=False)
    for failure in section["failures"]:
        console.print("[bold red]failed:[/]", failure, highlight=False, markup=True)
    if section["busy"]:
        console.print(f"[bold red]the machine was busy: {section['busy']}: do not trust these figures[/]")
    console.print()


def print_verdict(sections: Sequence[dict[str, Any]], console: Console) -> None:
    """How many bars were met, and which were not."""
    bars = [bar for section in sections for bar in section["bars"]]
    missed = [bar["what"] for bar in bars if not bar["met"]]
    console.print(f"{len(bars) - len(missed)} of {len(bars)} ratios met", style="bold")
    for what in missed:
        console.print(f"  [bold red]missed[/] {what}", highlight=False)
