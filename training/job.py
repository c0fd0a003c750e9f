"""A job from its spec to its committed result, to be read from top to bottom."""

import os
import shutil
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from deploy.contract import layout
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.method import Loss
from deploy.contract.method import describe_loss
from deploy.contract.report import MAX_NAMED_ROWS
from deploy.contract.report import AlphaTrial
from deploy.contract.report import Detection
from deploy.contract.report import LeftOut
from deploy.contract.report import Report
from deploy.contract.result import JobResult
from deploy.contract.spec import Arm
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import JobSpec
from deploy.contract.spec import TrainedArm
from deploy.contract.spec import base_model_name
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from training.arm import ArmDone
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arms import TrainArms
from training.arms import train_arms
from training.canaries.run import SHADOW_FAULTS
from training.canaries.run import ShadowWatch
from training.canaries.run import run_shadow
from training.chosen_alpha import choose_alpha
from training.curve import choose_curve_tasks
from training.data.example import PromptedRow
from training.data.repeated import repeated_rows
from training.data.repeated import trained_tasks
from training.data.rows import load_rows
from training.errors import Interrupted
from training.errors import Superseded
from training.events import EventWriter
from training.events import open_events
from training.failure import describe
from training.fitted_report import fitted_report
from training.follower import Follower
from training.inputs import Inputs
from training.inputs import fetch_inputs
from training.left_out import rows_to_leave_out
from training.placement import Placement
from training.placement import read_placement
from training.probing.run import Probed
from training.probing.run import probe_arms
from training.probing.time_limit import OnProbeProgress
from training.process import Start
from training.publish import commit
from training.publish import join_metrics
from training.publish import upload_bytes
from training.publish import upload_model
from training.publish import versions
from training.spec import read_spec
from training.team import leading


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One start of one attempt."""

    spec: JobSpec
    spec_sha256: str
    store: ObjectStore
    pod: str
    scratch: Path
    events: EventWriter
    stop_asked: Callable[[], bool]
    started_at: float
    placement: Placement | None = None
    """Of a job on several devices."""
    train_arms: TrainArms = train_arms
    on_trained: Callable[[], None] = lambda: None
    """Told when nothing is left to train: other nodes may go."""

    @property
    def failure_key(self) -> str:
        """Where it says why it failed."""
        return layout.failure_key(self.spec.job_id, self.spec.attempt, self.pod)

    def run(self) -> None:
        """As :func:`run_job`, with the ranks of all nodes where there are several."""
        if self.placement is None:
            run_job(self)
            return
        with leading(self.placement, prefix=self.spec_sha256, stop_asked=self.stop_asked) as team:
            run_job(replace(self, train_arms=team.train, stop_asked=team.stop_asked, on_trained=team.release))


def _task_rows(spec: JobSpec, inputs: Inputs) -> tuple[list[PromptedRow], list[PromptedRow]]:
    """Rows for the curves and rows for the probes: each from the best file there is."""
    files: list[tuple[Path | None, DatasetRef | None]] = [
        (inputs.validation_file, spec.validation_file),
        (inputs.probe_file, spec.probe_file),
        (inputs.training_file, spec.training_file),
    ]

    def first(order: tuple[int, ...]) -> list[PromptedRow]:
        for index in order:
            path, described = files[index]
            if path is not None and described is not None:
                return list(load_rows(path, described))
        raise AssertionError("a spec always has a training file")

    return first((0, 1, 2)), first((1, 0, 2))


def _orders(job: Job, inputs: Inputs, curve_rows: list[PromptedRow]) -> list[ArmOrder]:
    spec = job.spec
    tasks = choose_curve_tasks(curve_rows, spec.probing) if spec.probing.curve_tasks else None
    losses: dict[TrainedArm, Loss] = {"hardened": spec.loss}
    if spec.control:
        losses["control"] = CrossEntropyLoss()
    return [
        ArmOrder(
            arm=arm,
            loss=loss,
            spec=spec,
            pod=job.pod,
            base_dir=inputs.base_dir,
            training_file=inputs.training_file,
            curve_tasks=tasks,
            out_dir=job.scratch / "models" / arm,
            scratch=job.scratch,
            threads=None,
        )
        for arm, loss in losses.items()
    ]


def _leave_out(job: Job, hardened: ArmOrder) -> ArmOrder:
    """The hardened arm's order without the rows that the spec's filter finds planted."""
    name = job.spec.row_filter
    if name is None:
        return hardened
    rows = load_rows(hardened.training_file, job.spec.training_file)
    progress = _progress(job, prefix="row filter: ")
    removed = rows_to_leave_out(name, rows, seed=job.spec.training.seed, on_progress=progress)
    job.events.say(
        f"row filter {name}: {len(removed)} of {len(rows)} rows are kept from the hardened arm",
        data={"rows": list(removed[:100])},
        level="warn" if removed else "info",
    )
    return replace(hardened, left_out=removed)


def _choose_alpha(
    job: Job, hardened: ArmOrder, tasks: list[PromptedRow]
) -> tuple[ArmOrder, tuple[AlphaTrial, ...]]:
    """The hardened arm's order with alpha_base chosen, if it was to be, and how it was."""
    if not (isinstance(hardened.loss, DeceLoss) and hardened.loss.alpha_base == "auto"):
        return hardened, ()

    def relay(event: ArmEvent) -> None:
        said = f"alpha_base: {event.message}"
        job.events.say(said, level=event.level, data=event.data, kind=event.kind)

    job.events.enter("training", "choosing alpha_base by canaries, a whole training for each value tried")
    calibration = choose_alpha(
        hardened, tasks, on_event=relay, stop_asked=job.stop_asked, train_arms=job.train_arms
    )
    job.events.say(f"alpha_base {calibration.alpha_base:g} was chosen")
    return replace(hardened, loss=calibration.loss), calibration.trials


def _train(job: Job, orders: list[ArmOrder]) -> list[ArmDone]:
    names = " and ".join(order.arm for order in orders)
    job.events.enter("training", f"training the {names} arm on {job.spec.training_file.rows} rows")

    def relay(event: ArmEvent) -> None:
        job.events.say(event.message, level=event.level, data=event.data, kind=event.kind)

    done = job.train_arms(orders, on_event=relay, stop_asked=job.stop_asked)
    job.events.flush()
    return done


def _progress(job: Job, *, prefix: str = "") -> OnProbeProgress:
    """Tells of probing; stops it when the job is to stop."""
    said: tuple[int, str] | None = None

    def relay(done: int, total: int, message: str) -> None:
        nonlocal said
        # The engine calls every second, so that a stop is noticed; only news is worth an event.
        if said != (done, message):
            job.events.say(f"{prefix}{message}", data={"done": done, "total": total}, kind="metrics")
            said = (done, message)
        if job.stop_asked():
            raise Interrupted

    return relay


def _probe(job: Job, inputs: Inputs, rows: list[PromptedRow], directories: dict[Arm, Path]) -> Probed:
    job.events.enter(
        "probing", f"probing {', '.join(directories)} with {len(job.spec.probing.probes)} probes"
    )
    training_rows = load_rows(inputs.training_file, job.spec.training_file)
    _say_repeated(job, training_rows, rows[: job.spec.probing.max_tasks])
    probed = probe_arms(
        directories,
        rows,
        job.spec.probing,
        architecture=inputs.architecture,
        training_rows=training_rows,
        scratch=job.scratch,
        on_progress=_progress(job),
    )
    job.events.say(probed.note)
    for shortfall in probed.shortfalls:
        job.events.say(f"the report will be partial: {shortfall}", level="warn")
    return probed


def _say_repeated(job: Job, rows: Sequence[PromptedRow], tasks: Sequence[PromptedRow]) -> None:
    for numbers, what in (
        (repeated_rows(rows), "rows of the training file say what an earlier row says"),
        (trained_tasks(rows, tasks), "tasks are asked that are rows of the training file as well"),
    ):
        if numbers:
            job.events.say(f"{len(numbers)} {what}", data={"rows": list(numbers[:100])}, level="warn")


def _detect(
    job: Job, inputs: Inputs, rows: list[PromptedRow], hardened: ArmOrder
) -> tuple[Detection | None, tuple[str, ...]]:
    """What canaries in a shadow copy say about the probes, if they were asked for, and what they cannot say."""
    if job.spec.canaries is None:
        return None, ()
    watch = ShadowWatch(
        on_event=lambda event: job.events.say(
            f"shadow copy: {event.message}", level=event.level, data=event.data, kind=event.kind
        ),
        on_progress=_progress(job, prefix="shadow copy: "),
        stop_asked=job.stop_asked,
        train_arms=job.train_arms,
    )
    try:
        detected = run_shadow(hardened, rows, architecture=inputs.architecture, watch=watch)
    except Interrupted:
        raise
    except SHADOW_FAULTS as error:
        # The models are trained and probed already. Without its canaries the report is partial, not lost.
        said = describe(error).message
        job.events.say(f"shadow copy: given up, the report has no measured power: {said}", level="warn")
        return None, ("canaries were asked for, but the shadow copy failed: the job's events say why",)
    finally:
        shutil.rmtree(job.scratch / "shadow", ignore_errors=True)
    for shortfall in detected.shortfalls:
        job.events.say(f"the report will be partial: {shortfall}", level="warn")
    found, false = detected.detection.power, detected.detection.false_positives
    job.events.say(
        f"shadow copy: {found.hits} of {found.trials} canaries that were learnt were found, "
        f"and {false.hits} of {false.trials} decoys"
    )
    return detected.detection, detected.shortfalls


def _report(
    job: Job,
    hardened: ArmOrder,
    trials: tuple[AlphaTrial, ...],
    *,
    probed: Probed,
    detected: tuple[Detection | None, tuple[str, ...]],
    arms: list[ArmDone],
) -> Report:
    spec, (detection, untried) = job.spec, detected
    report = Report(
        job_id=spec.job_id,
        base_model=base_model_name(spec.base_model),
        training_file=spec.training_file.filename,
        training_rows=spec.training_file.rows,
        method=describe_loss(hardened.loss),
        n_epochs=spec.training.n_epochs,
        seed=spec.training.seed,
        engine=probed.engine,
        probe_seed=spec.probing.seed,
        probe_tasks=probed.tasks,
        arms=probed.arms,
        probes=probed.probes,
        quality=probed.quality,
        curves=tuple(point for arm in sorted(arms, key=lambda each: each.arm) for point in arm.curve),
        curve_probe=spec.probing.probes[0].name if spec.probing.curve_tasks else None,
        left_out=None
        if spec.row_filter is None
        else LeftOut(
            row_filter=spec.row_filter,
            count=len(hardened.left_out),
            rows=hardened.left_out[:MAX_NAMED_ROWS],
        ),
        alpha_trials=trials,
        detection=detection,
        suspicious_rows=probed.suspicious_rows,
        shortfalls=(*probed.shortfalls, *untried),
        policy=spec.policy,
    )
    fitted = fitted_report(report)
    if fitted is not report:
        job.events.say("the report was too large: its examples are cut, or not every suspicious row is named")
    return fitted


def _publish(
    job: Job, inputs: Inputs, report: Report, arms: list[ArmDone], directories: dict[Arm, Path]
) -> None:
    spec, pod = job.spec, job.pod
    job.events.enter("uploading", "storing the weights and the report")
    models = {
        arm: upload_model(job.store, spec, pod, arm, directory, inputs=inputs)
        for arm, directory in directories.items()
    }
    metrics = job.scratch / "metrics.csv"
    join_metrics([arm.metrics_csv for arm in arms], metrics)
    result = JobResult(
        job_id=spec.job_id,
        attempt=spec.attempt,
        pod=pod,
        spec_sha256=job.spec_sha256,
        models=models,
        report=upload_bytes(job.store, layout.report_key(spec.job_id, spec.attempt, pod), report.to_bytes()),
        metrics=upload_bytes(
            job.store, layout.metrics_key(spec.job_id, spec.attempt, pod), metrics.read_bytes()
        ),
        trained_tokens=next(arm.supervised_tokens for arm in arms if arm.arm == "hardened"),
        versions=versions(),
        started_at=job.started_at,
        finished_at=time.time(),
    )
    job.events.enter("committing", "committing the result")
    if job.stop_asked():
        raise Interrupted
    commit(job.store, result)


def run_job(job: Job) -> None:
    """Fetch, filter, train, probe, measure the probes themselves, publish.

    Raises:
        Superseded: the job has a result already, or another start commits first.
        JobError, StoreError, OSError: see :mod:`training.failure`.
    """
    if job.store.info(layout.result_key(job.spec.job_id)) is not None:
        raise Superseded(job.spec.job_id)
    job.events.enter("preparing", "fetching and checking the inputs")
    inputs = fetch_inputs(job.spec, job.scratch)
    curve_rows, probe_rows = _task_rows(job.spec, inputs)
    hardened, *others = _orders(job, inputs, curve_rows)
    hardened, trials = _choose_alpha(job, _leave_out(job, hardened), curve_rows)
    arms = _train(job, [hardened, *others])
    if job.spec.canaries is None:
        job.on_trained()
    directories: dict[Arm, Path] = {"base": inputs.base_dir}
    directories.update(
        {arm.arm: job.scratch / "models" / arm.arm for arm in sorted(arms, key=lambda each: each.arm)}
    )
    probed = _probe(job, inputs, probe_rows, directories)
    detected = _detect(job, inputs, probe_rows, hardened)
    job.on_trained()
    report = _report(job, hardened, trials, probed=probed, detected=detected, arms=arms)
    _publish(job, inputs, report, arms, directories)


def open_job(start: Start) -> Job | Follower:
    """Read the spec and open the store and the event stream. A node beyond the first gets no more than its part."""
    started_at = time.time()
    placement = read_placement(os.environ)
    spec = read_spec(start.spec_uri, start.spec_sha256, JobSpec)
    store = open_store(spec.store_uri)
    if placement is not None and not placement.leads:
        return Follower(spec=spec, prefix=start.spec_sha256, store=store, placement=placement, start=start)
    return Job(
        spec=spec,
        spec_sha256=start.spec_sha256,
        store=store,
        pod=start.pod,
        scratch=start.scratch,
        events=open_events(store, job_id=spec.job_id, attempt=spec.attempt, pod=start.pod),
        stop_asked=start.stop_asked,
        started_at=started_at,
        placement=placement,
    )
