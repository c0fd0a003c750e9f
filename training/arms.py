"""Runs the arms of a job as processes, side by side where cores allow it, and relays what they say."""

import multiprocessing
import os
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch

from deploy.contract.exit_codes import ExitCode
from training.arm import ArmDone
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arm import run_arm
from training.errors import Interrupted
from training.errors import JobError
from training.errors import PlatformFault


class TrainArms(Protocol):
    """How a job trains arms: each in a process on one device (:func:`train_arms`), or each on several."""

    def __call__(
        self,
        orders: Sequence[ArmOrder],
        *,
        on_event: Callable[[ArmEvent], None],
        stop_asked: Callable[[], bool],
    ) -> list[ArmDone]:
        """As :func:`train_arms`."""
        ...


STOP_GRACE_S = 60.0
"""An arm told to stop finishes its optimizer step and writes a checkpoint."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def arms_at_once(count: int) -> int:
    """How many arms train at the same time: one on a GPU, as many as there are cores without one."""
    return 1 if torch.cuda.is_available() else max(1, min(count, usable_cores()))


class _Arm:
    """One arm's process and our end of its pipe."""

    def __init__(self, order: ArmOrder) -> None:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        self.order = order
        self.pipe: Connection = receiver
        self.process: BaseProcess = context.Process(
            target=run_arm, args=(order, sender), name=f"arm-{order.arm}"
        )
        self.process.start()
        sender.close()
        self.outcome: ArmDone | JobError | None = None

    def receive(self, on_event: Callable[[ArmEvent], None]) -> bool:
        """Take one message. Returns False when the arm has nothing more to say."""
        try:
            message = self.pipe.recv()
        except EOFError:
            self.process.join()
            return False
        if isinstance(message, ArmEvent):
            on_event(message)
        else:
            self.outcome = message
        return True

    def result(self) -> ArmDone:
        """What the arm ended with. Raises its JobError, or PlatformFault when it died without a word."""
        if isinstance(self.outcome, JobError):
            raise self.outcome
        if self.outcome is None:
            raise PlatformFault(
                ExitCode.PLATFORM,
                "arm_died",
                f"the {self.order.arm} arm's process ended with status {self.process.exitcode} without a result "
                "(-9 is usually the kernel's out-of-memory killer)",
            )
        return self.outcome


def train_arms(
    orders: Sequence[ArmOrder], *, on_event: Callable[[ArmEvent], None], stop_asked: Callable[[], bool]
) -> list[ArmDone]:
    """Train every arm; ends as soon as one fails, and the others are stopped with a checkpoint.

    Raises:
        JobError: of the first arm that failed; Interrupted when ``stop_asked`` said so.
    """
    together = arms_at_once(len(orders))
    threads = None if torch.cuda.is_available() else max(1, usable_cores() // together)
    waiting = [replace(order, threads=threads) for order in orders]
    running: list[_Arm] = []
    done: list[ArmDone] = []
    try:
        while waiting or running:
            while waiting and len(running) < together:
                running.append(_Arm(waiting.pop(0)))
            ready = wait([arm.pipe for arm in running], timeout=0.5)
            if stop_asked():
                raise Interrupted
            for arm in [each for each in running if each.pipe in ready]:
                if not arm.receive(on_event):
                    running.remove(arm)
                    done.append(arm.result())
    except BaseException:
        _stop(running)
        raise
    return done


def _stop(arms: Sequence[_Arm]) -> None:
    for arm in arms:
        arm.process.terminate()
    for arm in arms:
        # Drained so that an arm that is still talking does not block on a full pipe.
        while arm.pipe.poll(STOP_GRACE_S) and arm.receive(lambda event: None):
            pass
        arm.process.join(STOP_GRACE_S)
        if arm.process.is_alive():
            arm.process.kill()
            arm.process.join()
