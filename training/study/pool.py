"""Runs cells in processes of one thread each, which on small models is faster than one after the other on all cores."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.study.cell import Cell
from training.study.declaration import Study
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.outcome import write_run

RELAY_EVERY_S = 0.5


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


def run_orders(
    orders: Sequence[Order],
    *,
    study: Study,
    data: Data,
    runs: Path,
    processes: int,
    on_done: OnDone,
    on_message: OnMessage,
) -> None:
    """Run every cell; each run is written to ``runs`` by its worker before ``on_done`` hears of it.

    Args:
        orders: the cells, most important first.
        study: their declaration.
        data: its rows.
        runs: directory of raw results.
        processes: at a time; the cores are shared out among them.
        on_done: told of every cell that ended.
        on_message: told twice a second at most what a worker is doing.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    pool = ProcessPoolExecutor(
        processes,
        mp_context=context,
        initializer=_start_worker,
        initargs=(study, data, runs, messages, threads),
    )
    pending: dict[Future[CellRun | Failed], Order] = {pool.submit(_work, order): order for order in orders}
    try:
        while pending:
            done, _ = wait(pending, timeout=RELAY_EVERY_S, return_when=FIRST_COMPLETED)
            _relay(messages, on_message)
            for future in done:
                on_done(pending.pop(future), future.result())
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


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
