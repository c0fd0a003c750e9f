"""``make load``: measure requests, uploads and long tables, print tables, write ``docs/load.md``.

Exit status: 0 when everything was answered, limits missed or not; 1 when something was refused; 2 when the machine is
too busy to measure on, or has no PostgreSQL.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import machine
from benchmarks.document import markdown
from benchmarks.load.measure_pages import fill
from benchmarks.load.measure_pages import measure_pages
from benchmarks.load.measure_requests import measure_requests
from benchmarks.load.measure_uploads import measure_uploads
from benchmarks.load.place import NoPostgres
from benchmarks.load.place import place
from benchmarks.record import Section
from benchmarks.record import as_json
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.terminal import TerminalProgress
from benchmarks.terminal import print_section
from benchmarks.terminal import print_verdict

HEADER: Final = """# Load

Written by `make load`, with a real PostgreSQL and a real server. Figures of different machines do not compare; the
ratios do.
"""
FAILED, NOT_MEASURED = 1, 2
REPORT_WIDTH: Final = 132


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind of request")
    parser.add_argument("--jobs", type=int, default=10_000, help="in the table")
    parser.add_argument("--upload-mib", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("docs/load.md"))
    parser.add_argument("--even-if-busy", action="store_true", help="measure and mark the page")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program; returns the exit status."""
    args = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else REPORT_WIDTH)
    if machine.overloaded(machine.load(), cores=machine.cores()) and not args.even_if_busy:
        console.print(f"the load is {machine.load():.2f}; --even-if-busy measures all the same")
        return NOT_MEASURED
    try:
        sections = [as_json(section) for section in _measured(args)]
    except NoPostgres as error:
        console.print(str(error))
        return NOT_MEASURED
    for section in sections:
        print_section(section, console)
    print_verdict(sections, console)
    args.out.write_text(markdown(sections, header=HEADER))
    return FAILED if any(section["failures"] for section in sections) else 0


def _measured(args: argparse.Namespace) -> list[Section]:
    settings = Settings(rounds=args.rounds, quick=False)
    with place() as here, TerminalProgress() as progress:

        def watch() -> Watch:
            return Watch(progress=progress, cores=machine.cores())

        fill(here, args.jobs)
        return [
            measure_requests(here, settings, watch(), seconds=args.seconds),
            measure_pages(here, settings, watch(), jobs=args.jobs),
            measure_uploads(here, settings, watch(), size_mib=args.upload_mib),
        ]


if __name__ == "__main__":
    raise SystemExit(main())
