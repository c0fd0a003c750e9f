"""From stored weights to a directory that a server may load: ``python -m deploy.endpoint.fetch``.

This is what an endpoint's init container runs: ``--order URI --sha256 HEX --directory DIR``. It reads the order
(:class:`deploy.endpoint.order.ServeOrder`) from the store, fetches every file that it lists into ``DIR/weights``,
verifies all of them, and puts the probe that the server's container runs beside them. Whatever it refuses, its last
line says why and its exit code is one of :class:`deploy.contract.exit_codes.ExitCode`: 40-49 will never do.
"""

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import rewrite_directory
from deploy.endpoint import probe
from deploy.endpoint.evidence import expect_evidence
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.weights import InvalidModelError
from deploy.endpoint.weights import UnservableModelError
from deploy.endpoint.weights import check_servable
from deploy.endpoint.weights import fetch_weights
from deploy.evidence.error import NotVerified
from deploy.store.opening import InvalidUri
from deploy.store.opening import locate
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError

WEIGHTS: Final = "weights"
PROBE: Final = "probe.py"
REFUSALS: Final = (
    DocumentError,
    InvalidModelError,
    UnservableModelError,
    NotVerified,
    StoreError,
    OSError,
)
"""What :func:`prepare` may raise."""
_EXIT_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (DocumentError, ExitCode.INVALID_SPEC),
    (InvalidUri, ExitCode.INVALID_SPEC),
    (ObjectCorrupt, ExitCode.INPUT_CHANGED),
    (ObjectMissing, ExitCode.INPUT_CHANGED),
    (InvalidModelError, ExitCode.INVALID_MODEL),
    (NotVerified, ExitCode.NOT_VERIFIED),
    (UnservableModelError, ExitCode.UNSUPPORTED),
    (StoreError, ExitCode.STORE_UNAVAILABLE),
)
"""The first that fits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch and verify; returns an exit code."""
    options = _parse(arguments)
    try:
        order = read_order(options.order, options.sha256)
        prepare(order, options.directory / WEIGHTS)
        (options.directory / PROBE).write_bytes(Path(probe.__file__).read_bytes())
    except REFUSALS as error:
        say(f"refused: {' '.join(str(error).split())}")
        return exit_code(error)
    return ExitCode.OK


def read_order(uri: str, sha256: str) -> ServeOrder:
    """The order that lies in a store.

    Raises:
        DocumentError: it is none.
        ObjectCorrupt: it is another one.
        StoreError: it cannot be read.
    """
    store, key = locate(uri)
    data = store.get(key)
    if sha256_hex(data) != sha256:
        raise ObjectCorrupt(f"{key}: the order has another SHA-256 than the one that was to be served")
    return ServeOrder.from_bytes(data)


def prepare(order: ServeOrder, directory: Path) -> None:
    """Make ``directory`` hold exactly the model of an order, verified. Raises one of REFUSALS."""
    store = open_store(order.weights_uri)
    if order.trust is not None:
        verdict = expect_evidence(store, order.files, order.trust)
        say(f"the evidence holds, the verdict of its probes is {verdict}")
    say(f"fetching {len(order.files)} files from {order.weights_uri}")
    fetch_weights(store, order.files, directory)
    say("every file has the recorded size and SHA-256")
    check_servable(directory)
    _rewrite(directory)


def _rewrite(directory: Path) -> None:
    """Whatever the files said, the server reads what is known of them; a signature was verified before."""
    try:
        dropped = rewrite_directory(directory, clear=True).dropped
    except ModelRefused as error:
        raise InvalidModelError(str(error)) from error
    if dropped:
        say(f"the server does not get: {', '.join(dropped)}")


def exit_code(error: Exception) -> int:
    """What a process ends with that was refused."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ExitCode.DISK_FULL
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), ExitCode.PLATFORM)


def say(message: str) -> None:
    """A line of the log."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - this is the log


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.endpoint.fetch", description=__doc__)
    parser.add_argument("--order", required=True, help="URI")
    parser.add_argument("--sha256", required=True, help="of the order")
    parser.add_argument("--directory", type=Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
