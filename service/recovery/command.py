"""temper recover: rebuild the service's database from its object store."""

import sys
from collections.abc import Sequence

from service.__main__ import main as service_main


def main(arguments: Sequence[str] | None = None) -> int:
    """As ``python -m service recover``. Returns the exit status."""
    return service_main(["recover", *(sys.argv[1:] if arguments is None else arguments)])
