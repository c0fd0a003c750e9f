"""Look through a training file with one filter: the suspicious rows as JSON lines, the most suspicious first.

    python -m training.defences train.csv --filter killbadcode_signed
    python -m training.defences train.csv --filter bki --model DIR

Every line has ``row``, ``score`` in [0, 1], ``removed`` (whether the filter would leave the row out) and ``reason``.
Progress goes to stderr. Exit status 0 if the file was looked through, whatever was found; 2 if it could not be.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from training.defences.filters import FILTERS
from training.defences.row_filter import Filtered
from training.errors import JobError

if TYPE_CHECKING:
    from training.model import LoadedModel


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.defences",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="csv, jsonl or parquet with prompts and completions")
    parser.add_argument("--filter", choices=sorted(FILTERS), default="association")
    parser.add_argument(
        "--model",
        type=Path,
        help="model directory (safetensors), fine-tuned on exactly this file; gradsentry: the base model",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt-column", default="src")
    parser.add_argument("--completion-column", default="tgt")
    parser.add_argument("--removed-only", action="store_true", help="only rows that would be left out")
    return parser.parse_args(argv)


def _load(directory: Path | None) -> "LoadedModel | None":
    if directory is None:
        return None
    from training.model import load_model

    return load_model(directory)


def _examined(args: argparse.Namespace) -> Filtered:
    rows = list(
        read_rows(
            args.file,
            format=format_of(args.file.name),
            prompt_column=args.prompt_column,
            completion_column=args.completion_column,
        )
    )
    row_filter = FILTERS[args.filter]()
    if row_filter.needs_model and args.model is None:
        raise ValueError(f"{args.filter} looks at a model: name its directory with --model")
    model = _load(args.model) if row_filter.needs_model else None
    with tqdm(desc=args.filter, total=len(rows), file=sys.stderr) as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        return row_filter.examine(rows, model=model, seed=args.seed, on_progress=show)


def _write(found: Filtered, *, removed_only: bool) -> None:
    """Suspects, then the rows that would be left out without being among the suspects that are named."""
    named = {suspect.row for suspect in found.suspects}
    lines = [
        {"row": each.row, "score": each.score, "removed": each.row in found.removed, "reason": each.reason}
        for each in found.suspects
        if not removed_only or each.row in found.removed
    ]
    lines += [
        {
            "row": row,
            "score": 0.0,
            "removed": True,
            "reason": "not among the rows that are named with a reason",
        }
        for row in sorted(found.removed - named)
    ]
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, look through the file, write what was found. Returns the exit status."""
    args = _arguments(argv)
    try:
        _write(_examined(args), removed_only=args.removed_only)
    except BrokenPipeError:
        # Whoever read it has seen enough ("| head"). Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (DatasetError, JobError, ValueError, OSError) as error:
        print(f"defences: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
