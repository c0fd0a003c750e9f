"""One arm of a job: a process of its own that trains one model and leaves it in a directory.

A process an arm, because two small models on two cores train faster side by side than one after the
other on both, because its memory is gone when probing starts, and because a crash in it is contained.
It talks to the job through one pipe; when the job is gone the pipe breaks and the arm ends.
"""

import csv
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any
from typing import Literal

from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.contract.method import Loss
from deploy.contract.report import CurvePoint
from deploy.contract.spec import JobSpec
from deploy.contract.spec import TrainedArm
from deploy.store.opening import open_store
from training.checkpoints import CheckpointStore
from training.curve import CurveTasks
from training.curve import measure
from training.data.example import Example
from training.data.example import encode_rows
from training.data.rows import load_rows
from training.data.shared_examples import share_examples
from training.errors import Interrupted
from training.errors import InvalidInput
from training.errors import JobError
from training.failure import describe
from training.fresh_run import fresh_run
from training.fresh_run import save_run
from training.loop import Run
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import train
from training.losses import build_loss
from training.member import agreed
from training.parallel import Alone
from training.parallel import Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOrder:
    """What an arm's process is told."""

    arm: TrainedArm
    loss: Loss
    spec: JobSpec
    pod: str
    base_dir: Path
    training_file: Path
    curve_tasks: CurveTasks | None
    out_dir: Path
    scratch: Path
    threads: int | None
    """CPU threads; None leaves torch's own choice."""
    left_out: tuple[int, ...] = ()
    """Numbers of training rows that are not trained on, ascending."""
    shadow: bool = False
    """Trained on the shadow copy: never served, and no part of the job's own progress."""

    @property
    def name(self) -> str:
        """What its events and its checkpoints are kept under."""
        return f"shadow-{self.arm}" if self.shadow else self.arm

    @property
    def training_sha256(self) -> str:
        """A digest of everything that decides the weights: what a checkpoint must share to be resumed."""
        decisive = self.spec.model_copy(update={"loss": self.loss}).model_dump_json(
            include={"job_id", "base_model", "training_file", "loss", "training"}
        )
        return sha256_hex(f"{decisive}{list(self.left_out) or ''}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvent:
    """Something to tell the user."""

    message: str
    data: dict[str, Any]
    kind: Literal["message", "metrics"] = "message"
    level: Literal["info", "warn", "error"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDone:
    """The arm's model lies in its directory."""

    arm: TrainedArm
    supervised_tokens: int
    curve: tuple[CurvePoint, ...]
    metrics_csv: Path


METRICS_COLUMNS = (
    "arm",
    "epoch",
    "step",
    "total_steps",
    "loss",
    "learning_rate",
    "grad_norm",
    "gradient_weight",
    "tokens_per_second",
)


class _Reporter:
    """Turns what the loop reports into events, checkpoints and the history that survives a resume."""

    def __init__(self, order: ArmOrder, pipe: Connection, checkpoints: CheckpointStore) -> None:
        self._order = order
        self._pipe = pipe
        self._checkpoints = checkpoints
        self._saved_at = time.monotonic()
        self._saved_step = -1
        self.history: dict[str, Any] = {"curve": [], "metrics": []}
        self.stop_asked = False

    def ask_stop(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.stop_asked = True

    def say(self, message: str, data: dict[str, Any], **how: Any) -> None:
        try:
            self._pipe.send(ArmEvent(message=message, data={"arm": self._order.name, **data}, **how))
        except BrokenPipeError as error:
            raise Interrupted from error

    def on_metrics(self, metrics: StepMetrics) -> None:
        row = {"arm": self._order.arm, **asdict(metrics)}
        self.history["metrics"].append([row[column] for column in METRICS_COLUMNS])
        data = {**asdict(metrics), "n_epochs": self._order.spec.training.n_epochs}
        self.say(
            f"{self._order.arm}: step {metrics.step}/{metrics.total_steps}, loss {metrics.loss:.4f}, "
            f"gradient weight {metrics.gradient_weight:.2f}",
            data,
            kind="metrics",
        )

    def on_epoch(self, run: Run, epoch: int) -> None:
        tasks = self._order.curve_tasks
        if tasks is not None and tasks.prompts:
            limit = self._order.spec.probing.max_new_tokens
            point = measure(run, tasks, arm=self._order.arm, epoch=epoch, max_new_tokens=limit)
            if point is None:
                raise AssertionError("the first rank always measures")
            self.history["curve"].append(point.model_dump())
            data = {
                "epoch": epoch,
                "asr_hits": point.asr.hits,
                "asr_trials": point.asr.trials,
                "bleu": point.bleu,
            }
            said = f"{self._order.arm}: epoch {epoch}, {point.asr.hits} of {point.asr.trials} triggered prompts gave the payload, BLEU {point.bleu:.1f}"
            self.say(said, {**data, "curve": True})
        self.checkpoint(run, epoch=epoch)

    def checkpoint(self, run: Run, *, epoch: int) -> None:
        prefix = self._checkpoints.save(run, self.history)
        self._saved_at, self._saved_step = time.monotonic(), run.position.step
        losses = run.position.epoch_losses
        data = {
            "step": run.position.step,
            "epoch": epoch,
            "prefix": prefix,
            "train_loss": losses[-1] if losses else None,
            "checkpoint": True,
        }
        self.say(f"{self._order.arm}: checkpoint at step {run.position.step}", data)

    def between_steps(self, run: Run) -> None:
        due = time.monotonic() - self._saved_at >= self._order.spec.training.checkpoint_every_s
        due, stop = agreed(run, due=due, stop=self.stop_asked)
        if (due or stop) and self._saved_step != run.position.step:
            self.checkpoint(run, epoch=len(run.position.epoch_losses) + 1)
        if stop:
            raise Interrupted

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        return tuple(CurvePoint.model_validate(point) for point in self.history["curve"])


def _encode(order: ArmOrder, tokenizer: Any, reporter: _Reporter) -> tuple[Example, ...]:
    left_out = frozenset(order.left_out)
    rows = load_rows(order.training_file, order.spec.training_file)
    encoded = encode_rows(
        tokenizer,
        (row for row in rows if row.number not in left_out),
        max_tokens=order.spec.training.max_tokens,
    )
    limit = order.spec.training.max_tokens
    for numbers, what in (
        (encoded.shortened_rows, "lost the beginning of their prompt"),
        (encoded.dropped_rows, "were left out, their completion alone is longer"),
    ):
        if numbers:
            first = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            reporter.say(
                f"{len(numbers)} rows are longer than {limit} tokens and {what}: rows {first}",
                {"rows": list(numbers[:100])},
                level="warn",
            )
    if not encoded.examples:
        raise InvalidInput(
            ExitCode.INVALID_DATASET,
            "invalid_dataset",
            f"every completion is longer than hardening.training.max_tokens ({limit} tokens)",
            param="training_file",
        )
    return encoded.examples


def train_arm(order: ArmOrder, pipe: Connection, ranks: Ranks | None = None) -> ArmDone:
    """Train one arm, as the first of several ranks or alone. Events go through the pipe.

    Raises:
        Interrupted: this or another rank was told to stop; a checkpoint has been written.
        JobError, StoreError, OSError, RuntimeError: see :mod:`training.failure`.
    """
    run = fresh_run(order.base_dir, order.spec.training, ranks or Alone(), threads=order.threads)
    checkpoints = CheckpointStore(
        open_store(order.spec.store_uri),
        job_id=order.spec.job_id,
        attempt=order.spec.attempt,
        pod=order.pod,
        arm=order.name,
        training_sha256=order.training_sha256,
        scratch=order.scratch,
    )
    reporter = _Reporter(order, pipe, checkpoints)
    signal.signal(signal.SIGTERM, reporter.ask_stop)
    examples = share_examples(run.ranks, _encode(order, run.loaded.tokenizer, reporter))
    restored = checkpoints.restore_newest(run)
    if restored is not None:
        reporter.history = restored
        reporter.say(f"{order.arm}: resumed at step {run.position.step}", {"step": run.position.step})
    watchers = Watchers(
        on_metrics=reporter.on_metrics, on_epoch=reporter.on_epoch, between_steps=reporter.between_steps
    )
    loss = build_loss(order.loss, device=run.loaded.device)
    train(run, examples, loss=loss, plan=order.spec.training, watchers=watchers)
    shutil.rmtree(order.out_dir, ignore_errors=True)
    save_run(run, order.spec.training, order.base_dir, order.out_dir)
    metrics_csv = order.scratch / f"metrics-{order.arm}.csv"
    _write_metrics(metrics_csv, reporter.history["metrics"])
    return ArmDone(
        arm=order.arm,
        supervised_tokens=run.position.supervised_tokens,
        curve=reporter.curve,
        metrics_csv=metrics_csv,
    )


def _write_metrics(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(METRICS_COLUMNS)
        writer.writerows(rows)


def run_arm(order: ArmOrder, pipe: Connection) -> None:
    """Entry point of an arm's process: sends ArmEvents, then one ArmDone or one JobError."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # The job decides when to stop; a Ctrl-C of a terminal reaches it and us alike.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome: ArmDone | JobError = train_arm(order, pipe)
    except Exception as error:
        outcome = describe(error)
    try:
        pipe.send(outcome)
    except BrokenPipeError:
        return
    finally:
        pipe.close()
