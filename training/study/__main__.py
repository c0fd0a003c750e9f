"""temper study STUDY.toml: run a declared matrix of attacks, poison rates, defences and seeds, and write its tables.

Every cell (model, attack, poison rate, defence, seed) is trained and measured once. What is done stays done: run the
same command again after an interruption, or with more seeds, and only what is missing is run. Scores are written to
the directory of --out as they come; tables and pictures of all that is done when the call ends, also when it is cut.

Exit codes: 0 every cell has a result; 1 some failed, and are named; 2 the declaration is wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from training.study.cell import Cell
from training.study.declaration import Study
from training.study.declaration import StudyError
from training.study.declaration import read_study


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="temper study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="the declaration (TOML)")
    parser.add_argument("--data", type=Path, help="where its data files lie; default: beside the declaration")
    parser.add_argument(
        "--out", type=Path, help="where results and tables go; default: beside the declaration"
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("TEMPER_HOME", "./var")) / "study",
        help="base models and raw completions, kept between runs (TEMPER_HOME/study)",
    )
    parser.add_argument(
        "--jobs", type=int, help="cells at a time (one for each GPU, or each core where there is none)"
    )
    parser.add_argument("--only", default="", help="run only cells whose id contains this")
    parser.add_argument("--limit", type=int, help="run at most so many cells now")
    parser.add_argument(
        "--rescore", action="store_true", help="score kept completions again, after a metric has changed"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and what is missing, run nothing"
    )
    return parser.parse_args(argv)


class _Progress:
    """One bar over all cells, and what the workers are doing."""

    def __init__(self, total: int, done: int) -> None:
        self.bar = tqdm(total=total, initial=done, unit="cell", file=sys.stderr, smoothing=0.1)
        self._doing: dict[str, tuple[float, str]] = {}
        self._ended: set[str] = set()

    def on_message(self, cell: str, share: float, what: str) -> None:
        # A worker's last words may come after its result.
        if cell in self._ended:
            return
        self._doing[cell] = (share, what)
        shown = "; ".join(f"{name} {100 * part:.0f} % {text}" for name, (part, text) in self._doing.items())
        self.bar.set_postfix_str(shown[:160])

    def on_end(self, cell: str, failure: str | None) -> None:
        self._ended.add(cell)
        self._doing.pop(cell, None)
        self.bar.update()
        if failure is not None:
            self.bar.write(f"{cell}: {failure}", file=sys.stderr)


def _print_plan(planned: Sequence[Cell], missing: Sequence[Cell]) -> None:
    absent = set(missing)
    for cell in planned:
        sys.stdout.write(f"{'to run' if cell in absent else 'done  '}  {cell.id}\n")
    sys.stdout.write(f"{len(planned)} cells, {len(absent)} to run\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run what is missing, write everything. Returns the exit code."""
    args = _arguments(argv)
    # Threads that spin while they wait starve the other cells; read by the workers when they load torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        study = read_study(args.study)
        return _run(args, study)
    except StudyError as error:
        sys.stderr.write(f"temper study: {error}\n")
        return 2


def _run(args: argparse.Namespace, study: Study) -> int:
    # torch is loaded only once the declaration is known to be good.
    from training.study.materials import read_data
    from training.study.pool import default_processes
    from training.study.session import open_session

    data = read_data(study.data, args.data or args.study.parent)
    session = open_session(study, data, out=args.out or args.study.parent / study.name, home=args.home)
    planned = session.planned(args.only)
    missing = session.missing(planned, rescore=args.rescore)
    if session.not_rescored:
        sys.stderr.write(
            f"temper study: {len(session.not_rescored)} cells keep their old scores, their completions are not in "
            f"{session.runs}\n"
        )
    if args.dry_run:
        _print_plan(planned, missing)
        return 0
    progress = _Progress(len(planned), len(planned) - len(missing))
    try:
        session.run(
            missing[: args.limit],
            processes=max(1, args.jobs or default_processes()),
            on_end=progress.on_end,
            on_message=progress.on_message,
        )
    finally:
        progress.bar.close()
        session.write_up()
    for each in session.failed:
        sys.stderr.write(f"failed: {each.cell.id}: {each.reason}\n")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
