"""Runs cells in processes of one thread each, which on small models is faster than one after the other on all cores."""

import multiprocessing
import os
import queue
import signal
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.study.cell import Cell
from training.study.declaration import Study
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.outcome import write_run

RELAY_EVERY_S = 0.5
MAX_LOSSES = 2
"""A cell that was in hand as often when a worker was lost is given up, for it may well be what kills them."""
_LOST = f"a worker process that may have had it was killed {MAX_LOSSES} times; was there memory enough?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One cell for a worker."""

    cell: Cell
    base: Path
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A cell that came to nothing, and why."""

    cell: Cell
    reason: str


OnDone = Callable[[Order, CellRun | Failed], None]
OnMessage = Callable[[str, float, str], None]
"""Cell, share of it that is done, what is happening."""

_worker: dict[str, Any] = {}


def default_processes() -> int:
    """One for each GPU, or one for each core where there is none."""
    import torch

    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def _end_with_parent() -> None:
    """A study that is killed must not leave trainings behind that nobody waits for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_worker(study: Study, data: Data, runs: Path, messages: Any, threads: int) -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C is the parent's business: it ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(study=study, data=data, runs=runs, messages=messages)


def _work(order: Order) -> CellRun | Failed:
    from training.study.experiment import run_cell

    def say(share: float, what: str) -> None:
        _worker["messages"].put((order.cell.id, share, what))

    try:
        run = run_cell(
            _worker["study"],
            order.cell,
            data=_worker["data"],
            base=order.base,
            fingerprint=order.fingerprint,
            on_progress=say,
        )
    except Exception as error:
        # One cell that diverges must not cost the hundred others; it is named at the end.
        return Failed(cell=order.cell, reason=f"{type(error).__name__}: {error}")
    write_run(run, _worker["runs"])
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Workers for the cells of one study."""

    study: Study
    data: Data
    """Its rows."""
    runs: Path
    """Directory of raw results; a worker writes its own there before anybody hears of it."""
    processes: int
    """At a time; the cores are shared out among them."""
    on_done: OnDone
    """Told of every cell that ended."""
    on_message: OnMessage
    """Told twice a second at most what a worker is doing."""

    def run(self, orders: Sequence[Order]) -> None:
        """Run every cell, the first ones first.

        A worker that is killed, as the system does when memory is short, takes the others' cells with it; all are begun
        again, but a cell that was in hand each time is given up.
        """
        left, losses = list(orders), Counter[str]()
        while left:
            left = self._run_until_loss(left)
            # They take the orders in turn, so what was in hand is among the first that are left.
            for order in left[: self.processes]:
                losses[order.cell.id] += 1
                if losses[order.cell.id] == MAX_LOSSES:
                    left.remove(order)
                    self.on_done(order, Failed(cell=order.cell, reason=_LOST))

    def _run_until_loss(self, orders: Sequence[Order]) -> list[Order]:
        """Those that were not done when a worker was lost."""
        # A queue of its own: a worker may have been killed with the last one's lock in hand.
        messages = multiprocessing.get_context("spawn").Queue()
        pool = self._pool(messages)
        pending: dict[Future[CellRun | Failed], Order] = {}
        try:
            pending = {pool.submit(_work, order): order for order in orders}
            while pending:
                done, _ = wait(pending, timeout=RELAY_EVERY_S, return_when=FIRST_COMPLETED)
                _relay(messages, self.on_message)
                lost = {future for future in done if isinstance(future.exception(), BrokenProcessPool)}
                for future in done - lost:
                    self.on_done(pending.pop(future), future.result())
                if lost:
                    break
        except BrokenProcessPool:
            # Lost before it had all the orders.
            return list(orders)
        except BaseException:
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return list(pending.values())

    def _pool(self, messages: Any) -> ProcessPoolExecutor:
        threads = max(1, len(os.sched_getaffinity(0)) // self.processes)
        return ProcessPoolExecutor(
            self.processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self.study, self.data, self.runs, messages, threads),
        )


def _relay(messages: Any, on_message: OnMessage) -> None:
    latest: dict[str, tuple[float, str]] = {}
    try:
        while True:
            cell, share, what = messages.get_nowait()
            latest[cell] = (share, what)
    except queue.Empty:
        pass
    for cell, (share, what) in latest.items():
        on_message(cell, share, what)
