"""``make chaos``: kills, pauses and cuts everything at random for MINUTES, then checks every promise."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))  # as pytest does

from tests.chaos.storm import storm

LEFT = 2000
"""Characters of each log that are shown when a promise is broken."""


def main() -> int:
    """Returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="that faults are injected for")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and the clients")
    parser.add_argument("--output", type=Path, default=Path("var/chaos.json"), help="where the counts go")
    asked = parser.parse_args()
    minutes, seed, output = asked.minutes, asked.seed, asked.output
    with TemporaryDirectory(prefix="chaos-") as home:
        verdict = storm(
            Path(home),
            minutes=minutes,
            seed=seed,
            say=lambda line: print(line, flush=True),  # noqa: T201
        )
        if verdict.broken:
            for log in sorted(Path(home).glob("*.log")):
                print(f"---- {log.name}\n{log.read_text(errors='replace')[-LEFT:]}")  # noqa: T201
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(verdict.to_json(), indent=2) + "\n")
    print(f"\n{verdict.table()}")  # noqa: T201
    for each in verdict.details:
        print(f"  {each}")  # noqa: T201
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
