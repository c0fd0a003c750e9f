"""Endpoints as supervised vLLM processes of this machine, each on a loopback port of its own.

Below its root: ``orders/{name}.json`` what shall be served; ``servers/`` a
:class:`deploy.process.table.ProcessTable`; ``weights/{name}/`` verified copies; ``failures/{name}.json``.
An order outlives the service: a new backend on the same root starts again what ended with the old one.
"""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.endpoint.generation import GenerationCheck
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.endpoint.server import PORT_TAKEN
from deploy.launch.environment import inherit
from deploy.process.record import read_record
from deploy.process.record import write_record
from deploy.process.table import EndCause
from deploy.process.table import ProcessPhase
from deploy.process.table import ProcessTable
from deploy.process.table import ProcessTableError
from deploy.process.table import SupervisedProcess

START_TIMEOUT_S: Final = 300.0
"""Measured with a tiny Llama on two cores: 32 s at a load of 4, 130 s at a load of 7."""
STOP_GRACE_S: Final = 5.0
MAX_PORTS: Final = 5
"""How many ports are tried: each was free a moment before, so one retry is rare already."""
REASON_LINES: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """What this process knows of a server that it started."""

    port: int
    tried: int
    started_at: float
    """Monotonic seconds."""
    check: GenerationCheck


class LocalEndpoints:
    """Implements :class:`deploy.endpoint.protocol.EndpointBackend` on this machine. No call waits for a server.

    Args:
        root: of its state; one live backend to a root.
        python: has vLLM beside it.
        start_timeout_s: from the start of a process to its first generation; after that it counts as failed.
        environment: what the allow-list of :mod:`deploy.launch.environment` picks from.
        command: argv before ``--order PATH --weights DIR --port N``; None is ``python -m deploy.endpoint.server``.
    """

    def __init__(
        self,
        root: Path,
        *,
        python: str = sys.executable,
        start_timeout_s: float = START_TIMEOUT_S,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._table = ProcessTable(root / "servers")
        self._orders = root / "orders"
        self._weights = root / "weights"
        self._failures = root / "failures"
        for directory in (self._orders, self._weights, self._failures):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._start_timeout_s = start_timeout_s
        self._environment = dict(os.environ if environment is None else environment)
        self._command = tuple(command if command is not None else (python, "-m", "deploy.endpoint.server"))
        self._watched: dict[str, _Watch] = {}
        self._lock = threading.RLock()

    def serve(self, order: Serve) -> None:
        """Start an endpoint; one of this name, in whatever phase, is left alone. Raises EndpointRefused."""
        with self._lock:
            try:
                path = self._order_path(order.name)
                if path.exists():
                    return
                aside = path.with_name(f".{path.name}")
                aside.write_bytes(ServeOrder.of(order).to_bytes())
                aside.replace(path)
                self._start(ServeOrder.of(order), tried=0)
            except (ProcessTableError, OSError, ValueError) as error:
                raise EndpointRefused(f"cannot serve {order.name}: {error}") from error

    def observe(self) -> Mapping[str, Server]:
        """Every endpoint by name, until it is removed. Raises EndpointError."""
        with self._lock:
            try:
                processes = self._table.observe()
                orders = {path.stem: path for path in self._orders.glob("[!.]*.json")}
                for name in processes.keys() - orders.keys():  # a removal that a crash cut short
                    self._forget(name)
                return {
                    name: self._look(ServeOrder.from_bytes(path.read_bytes()), processes.get(name))
                    for name, path in sorted(orders.items())
                }
            except (ProcessTableError, OSError, ValueError) as error:
                raise EndpointError(f"cannot observe: {error}") from error

    def remove(self, name: str) -> None:
        """Stop an endpoint and forget it, with its copy of the weights. Raises EndpointError."""
        with self._lock:
            try:
                # The order first: without it nothing starts the server again, wherever a crash falls.
                self._order_path(name).unlink(missing_ok=True)
                self._forget(name)
            except (ProcessTableError, OSError) as error:
                raise EndpointError(f"cannot remove {name}: {error}") from error

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of its server's output, control characters escaped."""
        return self._table.log_tail(name, lines=lines)

    def close(self) -> None:
        """Stop every server and wait until all are gone; the orders stay for the next backend."""
        self._table.close(grace_s=STOP_GRACE_S)

    def _look(self, order: ServeOrder, process: SupervisedProcess | None) -> Server:
        name = order.name
        failure = read_record(self._failures / f"{name}.json")
        if failure is not None:
            return Server(name=name, phase=ServePhase.FAILED, reason=failure["reason"])
        watch = self._watched.get(name)
        if self._table.closed:
            return _starting(name)
        if process is None:
            self._start(order, tried=0)
        elif process.phase is ProcessPhase.RUNNING:
            # One that is not watched belongs to a service that is gone, and is about to end.
            return self._look_running(name, watch) if watch is not None else _starting(name)
        elif watch is None or process.cause is EndCause.SERVICE_GONE:
            self._restart(order, tried=0)
        elif watch.tried < MAX_PORTS and not watch.check.ready and self._lost_its_port(process):
            self._restart(order, tried=watch.tried)
        else:
            return self._fail(name, _ending(process))
        return _starting(name)

    def _look_running(self, name: str, watch: _Watch) -> Server:
        if watch.check.poll():
            if watch.check.dead:
                return self._give_up(name, f"it generates no more ({watch.check.reason})")
            return Server(name=name, phase=ServePhase.READY, base_url=f"http://127.0.0.1:{watch.port}")
        if time.monotonic() - watch.started_at <= self._start_timeout_s:
            return _starting(name)
        return self._give_up(name, f"not ready after {self._start_timeout_s:g} s ({watch.check.reason})")

    def _give_up(self, name: str, what: str) -> Server:
        server = self._fail(name, what)
        self._table.stop(name, grace_s=STOP_GRACE_S)
        return server

    def _start(self, order: ServeOrder, *, tried: int) -> None:
        port = self._free_port()
        argv = [*self._command, "--order", str(self._order_path(order.name))]
        argv += ["--weights", str(self._weights / order.name), "--port", str(port)]
        self._table.start(
            order.name,
            argv,
            environment=inherit(self._environment, scratch=self._table.scratch(order.name)),
            grace_s=STOP_GRACE_S,
            labels={"port": str(port)},
        )
        self._watched[order.name] = _Watch(
            port=port,
            tried=tried + 1,
            started_at=time.monotonic(),
            check=GenerationCheck(
                port, order.model_id, state=self._table.scratch(order.name) / "last-look.json"
            ),
        )

    def _restart(self, order: ServeOrder, *, tried: int) -> None:
        self._watched.pop(order.name, None)
        self._table.remove(order.name)
        self._start(order, tried=tried)

    def _fail(self, name: str, what: str) -> Server:
        """Record a failure: it stays one, with the log it had, until the endpoint is removed."""
        tail = self._table.log_tail(name, lines=REASON_LINES)
        reason = f"{what}; the last lines of its log:\n{tail}" if tail else f"{what}; it wrote no log"
        write_record(self._failures / f"{name}.json", {"reason": reason})
        return Server(name=name, phase=ServePhase.FAILED, reason=reason)

    def _forget(self, name: str) -> None:
        self._watched.pop(name, None)
        self._table.remove(name)
        shutil.rmtree(self._weights / name, ignore_errors=True)
        (self._failures / f"{name}.json").unlink(missing_ok=True)

    def _lost_its_port(self, process: SupervisedProcess) -> bool:
        if process.exit_code == PORT_TAKEN:
            return True
        return "address already in use" in self._table.log_tail(process.name, lines=100).lower()

    def _free_port(self) -> int:
        """A port nobody listens on now, and that no other server of ours was given."""
        given = {watch.port for watch in self._watched.values()}
        while True:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port: int = listener.getsockname()[1]
            if port not in given:
                return port

    def _order_path(self, name: str) -> Path:
        self._table.directory(name)  # refuses a bad name
        return self._orders / f"{name}.json"


def _starting(name: str) -> Server:
    return Server(name=name, phase=ServePhase.STARTING)


def _ending(process: SupervisedProcess) -> str:
    if process.phase is ProcessPhase.LOST:
        return "the server's supervisor was killed"
    return f"the server ended with exit code {process.exit_code}"
