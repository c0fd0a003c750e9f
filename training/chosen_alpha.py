"""What ``alpha_base: auto`` becomes in a job: trials on a planted copy, each trained as the job's own hardened arm."""

import shutil
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.contract.dataset import Row
from deploy.contract.exit_codes import ExitCode
from deploy.contract.method import DeceLoss
from deploy.store.opening import open_store
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arms import TrainArms
from training.arms import train_arms
from training.calibration import Calibration
from training.calibration import calibrate
from training.canaries.error import CanaryError
from training.canaries.planted_file import write_planted
from training.data.example import PromptedRow
from training.data.rows import load_rows
from training.errors import Interrupted
from training.errors import InvalidInput
from training.model import LoadedModel
from training.model import load_model
from training.model import load_tokenizer
from training.probing.unknown import payload_families
from training.trial_notes import TrialNotes

OnEvent = Callable[[ArmEvent], None]


def choose_alpha(
    hardened: ArmOrder,
    tasks: Sequence[PromptedRow],
    *,
    on_event: OnEvent,
    stop_asked: Callable[[], bool],
    train_arms: TrainArms = train_arms,
) -> Calibration:
    """Choose alpha_base for the hardened arm.

    A trial that is cut resumes from its checkpoints, as the arm would; those that were finished before are read from
    the job's store.

    Args:
        hardened: the order of the hardened arm, its loss DeCE with alpha_base still ``auto``.
        tasks: clean tasks, of which the plan's curve tasks are asked (all of the plan's, where it draws no curves).
        on_event: told what is happening.
        stop_asked: whether the job is to end.
        train_arms: how a trial is trained; its model is asked by this process alone.

    Raises:
        InvalidInput: the training file cannot be planted.
        StoreError: the store.
        Interrupted: told to stop.
        JobError: a trial's training failed.
    """
    spec, loss = hardened.spec, hardened.loss
    if not isinstance(loss, DeceLoss):
        raise TypeError(f"only DeCE has an alpha_base, not {loss.type}")
    directory = hardened.scratch / "trials"

    def train(rows: Sequence[Row], tried: DeceLoss) -> LoadedModel:
        order = _trial_order(hardened, rows, tried, directory)
        train_arms([order], on_event=on_event, stop_asked=stop_asked)
        return load_model(order.out_dir)

    def watch(done: int) -> None:
        del done
        if stop_asked():
            raise Interrupted

    notes = TrialNotes(
        store=open_store(spec.store_uri),
        job_id=spec.job_id,
        attempt=spec.attempt,
        pod=hardened.pod,
        training_sha256=hardened.training_sha256,
    )
    left_out = frozenset(hardened.left_out)
    rows = load_rows(hardened.training_file, spec.training_file)
    try:
        return calibrate(
            [row for row in rows if row.number not in left_out],
            tasks[: spec.probing.curve_tasks or spec.probing.max_tasks],
            loss=loss,
            tokenizer=load_tokenizer(hardened.base_dir),
            families=payload_families(spec.probing),
            train=train,
            max_new_tokens=spec.probing.max_new_tokens,
            known=notes.read(),
            on_trials_made=notes.write,
            on_answers=watch,
            on_trial=lambda said: on_event(ArmEvent(message=said, data={})),
        )
    except CanaryError as error:
        raise InvalidInput(
            ExitCode.INVALID_DATASET,
            "no_canaries",
            f"alpha_base cannot be chosen by canaries on this training file: {error}; name a value instead",
            param="method.dece.hyperparameters.alpha_base",
        ) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _trial_order(hardened: ArmOrder, rows: Sequence[Row], loss: DeceLoss, directory: Path) -> ArmOrder:
    """The hardened arm's order on the planted rows, without curves."""
    path = directory / "training.jsonl"
    described = write_planted(rows, path, key="trials")
    return replace(
        hardened,
        loss=loss,
        spec=hardened.spec.model_copy(update={"training_file": described}),
        training_file=path,
        curve_tasks=None,
        left_out=(),
        out_dir=directory / "hardened",
        scratch=directory,
        shadow=True,
    )
