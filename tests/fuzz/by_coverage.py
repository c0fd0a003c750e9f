"""One parser under atheris, which looks for inputs that reach new code: ``python -m tests.fuzz.by_coverage NAME``.

A process of its own: libFuzzer never returns.
"""

import sys
import tempfile
from typing import Final

import atheris

from tests.fuzz.corpus import DIRECTORY

OURS: Final = ["deploy.contract", "service.body", "service.projects", "service.webhooks", "service.jobs"]

with atheris.instrument_imports(include=OURS):
    from tests.fuzz.parsers import PARSERS


def main() -> None:
    """Never returns."""
    name = sys.argv[1]
    with tempfile.TemporaryDirectory(
        prefix="temper-fuzz-"
    ) as grown:  # what it finds worth keeping goes to the first
        atheris.Setup([sys.argv[0], *sys.argv[2:], grown, str(DIRECTORY / name)], PARSERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
