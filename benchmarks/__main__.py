"""``python -m benchmarks``: measure, print a table, write ``docs/benchmarks.md`` and ``docs/benchmarks.json``.

Exit status: 0 when everything ran, ratios missed or not; 1 when a variant did not run or computes another
result than it must; 2 when the machine is too busy to measure on.
"""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.document import markdown
from benchmarks.measure_gpu import measure_gpu
from benchmarks.measure_head import measure_head
from benchmarks.measure_probing import measure_probing
from benchmarks.measure_reconcile import measure_reconcile
from benchmarks.measure_rows import measure_rows
from benchmarks.measure_step import measure_step
from benchmarks.record import Section
from benchmarks.record import as_json
from benchmarks.record import merged
from benchmarks.record import read_sections
from benchmarks.record import write_json
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.terminal import TerminalProgress
from benchmarks.terminal import print_section
from benchmarks.terminal import print_verdict

SECTIONS: Mapping[str, Callable[[Settings, Watch], Section]] = {
    "head": measure_head,
    "rows": measure_rows,
    "step": measure_step,
    "probing": measure_probing,
    "reconcile": measure_reconcile,
    "gpu": measure_gpu,
}
LEAST_ROUNDS = 2
REPORT_WIDTH = 132
"""Where stdout is no terminal."""
TOO_BUSY, FAILED = 2, 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION"
    )
    parser.add_argument("--rounds", type=int, default=5, help="at least 2; 5 or more for figures to publish")
    parser.add_argument("--out", type=Path, help="directory of the record; docs unless --quick")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing written without --out")
    parser.add_argument("--even-if-busy", action="store_true", help="measure and mark the record")
    args = parser.parse_args(argv)
    if args.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds {args.rounds}: at least {LEAST_ROUNDS}, or there is no spread")
    if args.out is None and not args.quick:
        args.out = Path("docs")
    return args


def measure(names: Sequence[str], settings: Settings) -> list[Section]:
    """The sections asked for, in their usual order."""
    found: list[Section] = []
    with TerminalProgress() as progress:
        for name in SECTIONS:
            if name in names:
                watch = Watch(progress=progress, cores=machine.cores())
                found.append(SECTIONS[name](settings, watch))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, show, write."""
    args = parse(argv)
    console = Console() if sys.stdout.isatty() else Console(width=REPORT_WIDTH)
    load, cores = machine.load(), machine.cores()
    if machine.overloaded(load, cores=cores) and not args.even_if_busy:
        console.print(
            f"The load average is {load:.2f} on {cores} cores: figures taken now would say nothing. "
            "Wait, or add --even-if-busy to measure all the same and have the record marked.",
            style="bold red",
        )
        return TOO_BUSY
    settings = Settings(rounds=args.rounds, quick=args.quick)
    sections = measure(args.only, settings)
    fresh = [as_json(section) for section in sections]
    for section in fresh:
        print_section(section, console)
    print_verdict(fresh, console)
    if args.out is not None:
        _write(args.out, sections, console)
    return FAILED if any(section.failures for section in sections) else 0


def _write(directory: Path, sections: Sequence[Section], console: Console) -> None:
    """Sections that were not measured now stay as they were."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "benchmarks.json"
    record = merged(read_sections(data), sections, order=SECTIONS)
    write_json(data, record)
    (directory / "benchmarks.md").write_text(markdown(record))
    console.print(f"written: {directory / 'benchmarks.md'}, {data}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
