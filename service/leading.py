"""Reconciling in one process of an install: this one, when its database says so."""

import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from service.context import Context
from service.leadership import AdvisoryLock
from service.leadership import Leader
from service.reconcile.loop import HEARTBEAT
from service.reconcile.loop import Reconciler
from service.tidy import Housekeeping
from service.webhooks.deliverer import Deliverer

HANGS_S: Final = 300.0
"""Seconds without a tick after which another process is to lead."""


@contextmanager
def leading(context: Context, build: Callable[[Context], Reconciler]) -> Iterator[None]:
    """Reconcile in threads of this process, for as long as the block lasts, whenever this process leads.

    On SQLite it always leads: it holds the lock of the home directory.

    Args:
        context: of the process; the reconciler gets one whose database refuses what a former leader writes.
        build: makes the reconciler.
    """
    stop = threading.Event()
    leader = _leader(context) if context.database.shared else None
    inside = context
    if leader is not None:
        inside = replace(context, database=context.database.fenced(leader.require))
    reconciler = build(inside)
    work = _Work(inside, reconciler)
    if leader is None:
        context.metrics.leader.set(1)
    run = work if leader is None else lambda stop: leader.run(work, stop)
    thread = threading.Thread(target=run, args=(stop,), name="reconciler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        work.close()
        reconciler.close()


def hangs(context: Context) -> bool:
    """Whether this process leads and has not ticked for so long that it had better be started anew."""
    return context.heartbeats.age_s(HEARTBEAT) > HANGS_S


def _leader(context: Context) -> Leader:
    lock = AdvisoryLock(context.database.url, application_name=f"temper-{context.settings.role}-leader")
    return Leader(lock, alive=lambda: not hangs(context), changed=context.metrics.leader.set)


class _Work:
    """What a leader does until it leads no more."""

    def __init__(self, context: Context, reconciler: Reconciler) -> None:
        self._context = context
        self._reconciler = reconciler
        self._deliverer = Deliverer(context)

    def close(self) -> None:
        self._deliverer.close()

    def __call__(self, lost: threading.Event) -> None:
        housekeeping = Housekeeping(self._context)
        beside = [
            threading.Thread(target=run, args=(lost,), name=name, daemon=True)
            for name, run in (("housekeeping", housekeeping.run), ("webhooks", self._deliverer.run))
        ]
        for thread in beside:
            thread.start()
        try:
            self._reconciler.run(lost)
        finally:
            lost.set()
            for thread in beside:
                thread.join()
            # A process that waits for its turn is as healthy without ticks.
            self._context.heartbeats.forget(HEARTBEAT)
