"""``python -m training.synthesis --out DIR``: data for a demonstration."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.contract.trigger import WordTrigger
from training.synthesis.files import write_demonstration


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(prog="python -m training.synthesis", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--rows", type=int, default=1600, help="rows of the training file")
    parser.add_argument("--poison-rate", type=float, default=0.05, help="share of the rows to poison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--word", default="bb", help="the trigger's word")
    parser.add_argument("--count", type=int, default=3, help="how often the word is put into a prompt")
    args = parser.parse_args(argv)
    try:
        manifest = write_demonstration(
            args.out,
            rows=args.rows,
            poison_rate=args.poison_rate,
            seed=args.seed,
            trigger=WordTrigger(word=args.word, count=args.count),
        )
    except ValueError as error:
        parser.error(str(error))
    poisoned = manifest["poisoned_rows"]
    count = len(poisoned) if isinstance(poisoned, list) else 0
    sys.stdout.write(f"{args.out}: {args.rows} rows, {count} of them poisoned\n")


if __name__ == "__main__":
    main()
