"""Decisions about jobs: a model of the world that crashes anywhere must always come to rest."""

import dataclasses
from dataclasses import dataclass
from dataclasses import field

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from deploy.contract.layout import job_name
from deploy.contract.result import JobFailure
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase
from service.reconcile.actions import Action
from service.reconcile.actions import AdoptAttempt
from service.reconcile.actions import Enqueue
from service.reconcile.actions import Fail
from service.reconcile.actions import LaunchAttempt
from service.reconcile.actions import LookInStore
from service.reconcile.actions import MarkRunning
from service.reconcile.actions import PrepareAttempt
from service.reconcile.actions import RemoveRun
from service.reconcile.actions import Retry
from service.reconcile.actions import SetPaused
from service.reconcile.actions import ShowWaiting
from service.reconcile.actions import StopRun
from service.reconcile.actions import Succeed
from service.reconcile.actions import ValidateInputs
from service.reconcile.actions import VerifyResult
from service.reconcile.observation import Checked
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.reconcile.observation import Looked
from service.reconcile.observation import Observed
from service.reconcile.observation import Problem
from service.reconcile.observation import Refused
from service.reconcile.observation import Told
from service.reconcile.observation import Wanted
from service.reconcile.observation import is_over
from service.reconcile.tick import tick
from service.work.ends import CODES
from service.work.ends import TERMINAL

LIMITS = Limits(max_failures=3, max_running=2, deadline_s=1000.0)
JOB = "ftjob-a"
BAD = Problem(code="invalid_dataset", message="row 3: tgt is empty", param="training_file")


def running(attempt: int = 1, **more: object) -> DesiredWork:
    return dataclasses.replace(
        DesiredWork(id=JOB, status="running", attempt=attempt, launched_at=0.0), **more
    )


def run_of(attempt: int, phase: RunPhase, code: int | None = None) -> dict[str, Run]:
    name = job_name(JOB, attempt)
    return {name: Run(name=name, phase=phase, exit_code=code)}


def ended(attempt: int, code: int) -> dict[str, Run]:
    return run_of(attempt, RunPhase.EXITED, code)


def decide(job: DesiredWork, now: float = 1.0, **seen: object) -> list[Action]:
    """What is decided where the store has been looked into; nothing is there unless said otherwise."""
    seen.setdefault("looked", {JOB: Looked()})
    return tick([job], Observed(**seen), now, limits=LIMITS)  # type: ignore[arg-type]


RESULT = {JOB: Looked(result=True)}


def test_inputs_are_validated_before_anything_is_launched() -> None:
    job = DesiredWork(id=JOB, status="validating_files")
    assert decide(job) == [ValidateInputs(job_id=JOB)]
    assert decide(job, inputs={JOB: Checked()}) == [Enqueue(job_id=JOB)]
    assert decide(job, inputs={JOB: Checked(problem=BAD)}) == [Fail(job_id=JOB, problem=BAD)]


def test_an_attempt_is_prepared_when_its_time_has_come_and_then_launched() -> None:
    job = DesiredWork(id=JOB, status="queued", next_attempt_at=5.0)
    assert decide(job, now=4.9) == []
    assert decide(job, now=5.0) == [PrepareAttempt(job_id=JOB, attempt=1)]
    assert decide(DesiredWork(id=JOB, status="queued", attempt=1)) == [LaunchAttempt(job_id=JOB, attempt=1)]


def test_no_more_jobs_run_than_allowed() -> None:
    queued = [DesiredWork(id=f"ftjob-{n}", status="queued", next_attempt_at=0.0) for n in range(4)]
    looked = {job.id: Looked() for job in queued}
    first_looks = tick(queued, Observed(), 1.0, limits=LIMITS)
    assert first_looks == [LookInStore(job_id=f"ftjob-{n}", attempt=0) for n in range(2)]
    actions = tick(queued, Observed(looked=looked), 1.0, limits=LIMITS)
    assert actions == [PrepareAttempt(job_id=f"ftjob-{n}", attempt=1) for n in range(2)]
    busy = [running(), *queued]
    seen = Observed(runs=run_of(1, RunPhase.RUNNING), looked=looked)
    assert len(tick(busy, seen, 1.0, limits=LIMITS)) == 1


@pytest.mark.parametrize("code", [0, 3, 51, 137])
def test_a_result_is_verified_before_it_is_believed(code: int) -> None:
    seen = {"runs": ended(1, code), "looked": RESULT}
    assert decide(running(), **seen) == [VerifyResult(job_id=JOB)]
    assert decide(running(), **seen, outputs={JOB: Checked()}) == [Succeed(job_id=JOB)]
    assert decide(running(), **seen, outputs={JOB: Checked(problem=BAD)}) == [Fail(job_id=JOB, problem=BAD)]


def test_g6_a_result_that_a_restored_database_has_forgotten_is_adopted() -> None:
    job = DesiredWork(id=JOB, status="queued", next_attempt_at=0.0)
    assert decide(job, looked={}) == [LookInStore(job_id=JOB, attempt=0)]
    assert decide(job, looked=RESULT) == [VerifyResult(job_id=JOB)]


def test_a_result_waits_for_its_run_to_end() -> None:
    alive = run_of(1, RunPhase.RUNNING)
    assert decide(running(), runs=alive, looked=RESULT) == []
    hangs = frozenset({JOB})
    assert decide(running(), runs=alive, lingering=hangs) == [StopRun(name=job_name(JOB, 1), grace_s=60.0)]


@pytest.mark.parametrize("code", range(40, 50))
def test_the_users_fault_is_final_and_told(code: int) -> None:
    failure = JobFailure(exit_code=code, code="invalid_model", message="no tokenizer.json", param="model")
    other = JobFailure(exit_code=52, code="store_unavailable", message="of another start")
    actions = decide(running(), runs=ended(1, code), looked={JOB: Looked(failures=(failure, other))})
    assert actions == [
        Fail(job_id=JOB, problem=Problem(code="invalid_model", message="no tokenizer.json", param="model"))
    ]
    [action] = decide(running(), runs=ended(1, code))
    assert isinstance(action, Fail)
    assert str(code) in action.problem.message


@pytest.mark.parametrize("code", [0, 1, 3, 50, 52, 137])
def test_the_platforms_fault_is_retried_with_growing_pauses_and_ends(code: int) -> None:
    waits = []
    for failures in range(2):
        [action] = decide(running(failures=failures), runs=ended(1, code))
        assert isinstance(action, Retry)
        assert action.counts
        waits.append(action.at - 1.0)
    assert waits == sorted(waits)
    assert waits[0] < waits[1]
    [last] = decide(running(failures=2), runs=ended(1, code))
    assert isinstance(last, Fail)
    assert last.problem.code == "platform_error"


def test_an_interruption_uses_up_no_attempt() -> None:
    [action] = decide(running(failures=2), runs=ended(1, 51))
    assert action == Retry(job_id=JOB, attempt=1, at=1.0, counts=False, reason="it ended with exit code 51")


def test_interruptions_do_not_go_on_for_ever() -> None:
    [action] = decide(running(attempt=100), runs=ended(100, 51))
    assert isinstance(action, Fail)


def test_e9_the_deadline_is_kept_even_where_the_launcher_does_not() -> None:
    alive = run_of(1, RunPhase.RUNNING)
    assert decide(running(), now=1059.0, runs=alive) == []
    assert decide(running(), now=1060.0, runs=alive) == [StopRun(name=job_name(JOB, 1), grace_s=10.0)]
    gone = frozenset({job_name(JOB, 1)})
    for late in (
        decide(running(), now=1000.0, runs=ended(1, 143)),
        decide(running(), now=1000.0, gone=gone),
        decide(dataclasses.replace(running(), phase="launching"), now=1000.0),
    ):
        [action] = late
        assert isinstance(action, Fail)
        assert action.problem.code == "deadline_exceeded"


def test_e12_a_row_without_a_run_is_launched_again_under_the_same_name() -> None:
    launched = running(attempt=2, phase="launching")
    assert decide(launched) == [LaunchAttempt(job_id=JOB, attempt=2)]
    assert decide(launched, looked={}) == [LookInStore(job_id=JOB, attempt=2)]
    assert decide(running(attempt=2, launched_at=None)) == [LaunchAttempt(job_id=JOB, attempt=2)]


def test_an_order_that_is_refused_is_told_of_tried_again_and_given_up() -> None:
    job = running(status="queued", phase="launching")
    refused = {JOB: Refused(reason="no quota", since=0.0, times=9)}
    launch = LaunchAttempt(job_id=JOB, attempt=1)
    waits = ShowWaiting(job_id=JOB, reason="no quota", queued=False, launching=True)
    assert decide(job, refused=refused) == [launch, waits]
    told = {JOB: Told(reason="no quota", queued=False, at=0.0)}
    assert decide(job, now=900.0, refused=refused, told=told) == [launch]
    limits = dataclasses.replace(LIMITS, deadline_s=1e6)
    seen = Observed(refused=refused, told=told, looked={JOB: Looked()})
    assert tick([job], seen, 3600.0, limits=limits) == [launch], "one try in an hour says nothing"
    often = dataclasses.replace(seen, refused={JOB: Refused(reason="no quota", since=0.0, times=10)})
    [action] = tick([job], often, 3600.0, limits=limits)
    assert isinstance(action, Fail)
    assert action.problem.code == "launch_failed"
    assert "no quota" in action.problem.message


def test_a_view_that_is_older_than_a_launch_does_not_launch_again() -> None:
    unseen = frozenset({job_name(JOB, 2)})
    for job in (running(attempt=2, phase="launching"), running(attempt=2)):
        assert decide(job, unseen=unseen, looked={}) == []
        assert decide(job, unseen=unseen, gone=unseen) == []
        assert decide(dataclasses.replace(job, wanted=Wanted.PAUSE), unseen=unseen) == []


def test_a_run_that_was_seen_is_never_launched_again_under_its_name() -> None:
    job, gone = running(attempt=2), frozenset({job_name(JOB, 2)})
    assert decide(job) == [], "it may be missing for a moment only"
    assert decide(job, looked={}) == [LookInStore(job_id=JOB, attempt=2)]
    [action] = decide(job, gone=gone)
    assert isinstance(action, Retry)
    assert action.counts
    assert "disappeared" in action.reason
    [action] = decide(dataclasses.replace(job, failures=2), gone=gone)
    assert isinstance(action, Fail)
    assert decide(job, gone=gone, looked=RESULT) == [VerifyResult(job_id=JOB)]
    refused = JobFailure(exit_code=42, code="invalid_dataset", message="row 3")
    [action] = decide(job, gone=gone, looked={JOB: Looked(failures=(refused,))})
    assert action == Fail(job_id=JOB, problem=Problem(code="invalid_dataset", message="row 3"))


def test_the_store_is_asked_before_an_ended_run_is_judged() -> None:
    assert decide(running(), runs=ended(1, 42), looked={}) == [LookInStore(job_id=JOB, attempt=1)]


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (RunCause.UNSCHEDULABLE, "unschedulable"),
        (RunCause.IMAGE_PULL_FAILED, "image_pull_failed"),
        (RunCause.OUT_OF_MEMORY, "out_of_memory"),
        (RunCause.DEADLINE, "deadline_exceeded"),
    ],
)
def test_what_would_only_come_again_ends_the_job_with_its_own_code(cause: RunCause, code: str) -> None:
    assert code in CODES
    name = job_name(JOB, 1)
    for phase, exit_code in ((RunPhase.LOST, None), (RunPhase.EXITED, 137)):
        run = Run(name=name, phase=phase, exit_code=exit_code, reason="limit of 64Gi", cause=cause)
        [action] = decide(running(), runs={name: run})
        assert isinstance(action, Fail)
        assert action.problem.code == code
        assert cause is RunCause.DEADLINE or "limit of 64Gi" in action.problem.message


def test_a_process_that_runs_out_of_memory_by_itself_is_tried_once_more() -> None:
    [first] = decide(running(), runs=ended(1, 54))
    assert isinstance(first, Retry)
    [second] = decide(running(failures=1), runs=ended(1, 54))
    assert isinstance(second, Fail)
    assert second.problem.code == "out_of_memory"


def test_an_eviction_uses_up_no_attempt() -> None:
    name = job_name(JOB, 1)
    run = Run(name=name, phase=RunPhase.LOST, reason="node drained", cause=RunCause.EVICTED)
    [action] = decide(running(failures=2), runs={name: run})
    assert isinstance(action, Retry)
    assert not action.counts
    assert "node drained" in action.reason
    [action] = decide(running(attempt=100), runs={job_name(JOB, 100): run})
    assert isinstance(action, Fail)
    assert action.problem.code == "evicted"


def test_e8_a_run_without_progress_is_stopped_and_tried_once_more() -> None:
    name = job_name(JOB, 1)
    silent, stopping = frozenset({name}), frozenset({name})
    alive = run_of(1, RunPhase.RUNNING)
    assert decide(running(), runs=alive, stalled=silent) == [StopRun(name=name, grace_s=60.0)]
    assert decide(running(), runs=alive, stalled=silent, stopping=stopping) == []
    [first] = decide(running(), runs=ended(1, 51), stalled=silent)
    assert isinstance(first, Retry)
    assert first.counts
    [second] = decide(running(failures=1), runs=ended(1, 137), stalled=silent)
    assert isinstance(second, Fail)
    assert second.problem.code == "stalled"


def test_what_a_run_waits_for_is_told_when_it_changes() -> None:
    name = job_name(JOB, 1)
    job = running(status="queued", phase="launching")
    waits = Run(name=name, phase=RunPhase.PENDING, reason="place 3", cause=RunCause.QUEUED)
    told = {JOB: Told(reason="place 3", queued=True, at=0.0)}
    assert decide(job, runs={name: waits}) == [ShowWaiting(job_id=JOB, reason="place 3", queued=True)]
    shown = dataclasses.replace(job, phase="queued")
    assert decide(shown, runs={name: waits}, told=told) == []
    nearer = dataclasses.replace(waits, reason="place 2")
    assert decide(shown, now=29.0, runs={name: nearer}, told=told) == [], "not every tick"
    assert decide(shown, now=30.0, runs={name: nearer}, told=told) == [
        ShowWaiting(job_id=JOB, reason="place 2", queued=True)
    ]
    full = dataclasses.replace(waits, reason="0/3 nodes", cause=RunCause.UNSCHEDULABLE)
    assert decide(shown, runs={name: full}, told=told) == [
        ShowWaiting(job_id=JOB, reason="0/3 nodes", queued=False)
    ]


def test_waiting_does_not_count_against_the_deadline() -> None:
    name = job_name(JOB, 1)
    told = {JOB: Told(reason=None, queued=True, at=0.0)}
    waits = {name: Run(name=name, phase=RunPhase.PENDING, cause=RunCause.QUEUED)}
    assert decide(running(phase="queued"), now=1e6, runs=waits, told=told) == []
    begun = decide(running(phase="queued"), now=1e6, runs=run_of(1, RunPhase.RUNNING))
    assert begun == [MarkRunning(job_id=JOB)], "which is when the deadline begins to count"


def test_e11_an_attempt_that_a_restored_row_has_forgotten_is_adopted() -> None:
    alive = run_of(3, RunPhase.RUNNING)
    job = running(status="queued", attempt=1, next_attempt_at=0.0)
    assert decide(job, runs=alive) == [AdoptAttempt(job_id=JOB, attempt=3)]
    assert decide(running(), runs=alive) == [AdoptAttempt(job_id=JOB, attempt=3)]
    both = alive | run_of(2, RunPhase.RUNNING)
    assert decide(running(), runs=both) == [
        AdoptAttempt(job_id=JOB, attempt=3),
        StopRun(name=job_name(JOB, 2), grace_s=10.0),
    ]
    stopping = frozenset({job_name(JOB, 3)})
    assert decide(running(), runs=alive | run_of(1, RunPhase.RUNNING), stopping=stopping) == []
    validating = DesiredWork(id=JOB, status="validating_files")
    assert decide(validating, runs=alive) == [ValidateInputs(job_id=JOB)], "it goes on until more is known"


def test_what_no_job_of_ours_is_called_is_never_touched() -> None:
    runs = {"somebody-elses": Run(name="somebody-elses", phase=RunPhase.RUNNING)}
    assert tick([], Observed(runs=runs), 1.0, limits=LIMITS) == []


def test_e11_a_run_without_a_row_is_stopped_and_removed() -> None:
    name = job_name(JOB, 1)
    alive = Observed(runs=run_of(1, RunPhase.RUNNING))
    assert tick([], alive, 1.0, limits=LIMITS) == [StopRun(name=name, grace_s=10.0, orphan=True)]
    spared = dataclasses.replace(alive, spared=frozenset({name}))
    assert tick([], spared, 1.0, limits=LIMITS) == []
    asked = dataclasses.replace(alive, stopping=frozenset({name}))
    assert tick([], asked, 1.0, limits=LIMITS) == []
    assert tick([], Observed(runs=ended(1, 0)), 1.0, limits=LIMITS) == [RemoveRun(name=name)]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_job_that_is_over_keeps_no_run_and_takes_no_result(status: str) -> None:
    job = DesiredWork(id=JOB, status=status, attempt=1)
    name = job_name(JOB, 1)
    assert decide(job, runs=run_of(1, RunPhase.RUNNING), looked=RESULT) == [StopRun(name=name, grace_s=10.0)]
    assert decide(job, runs=ended(1, 0), looked=RESULT) == [RemoveRun(name=name)]
    assert decide(job, looked=RESULT) == []


def test_pausing_stops_the_run_and_waits_for_its_end() -> None:
    job = running(wanted=Wanted.PAUSE)
    name = job_name(JOB, 1)
    assert decide(job, runs=run_of(1, RunPhase.RUNNING)) == [StopRun(name=name, grace_s=60.0)]
    assert decide(job, runs=run_of(1, RunPhase.RUNNING), stopping=frozenset({name})) == []
    assert decide(job, runs=ended(1, 51), looked={}) == [LookInStore(job_id=JOB, attempt=1)]
    assert decide(job, runs=ended(1, 51)) == [SetPaused(job_id=JOB)]
    paused = dataclasses.replace(job, status="queued", paused=True)
    assert decide(paused, runs=ended(1, 51)) == [RemoveRun(name=name)]
    assert decide(paused) == []


def test_the_run_of_an_older_attempt_is_removed() -> None:
    runs = ended(1, 52) | run_of(2, RunPhase.RUNNING)
    assert decide(running(attempt=2), runs=runs) == [RemoveRun(name=job_name(JOB, 1))]


def test_a_run_that_began_is_shown_as_running() -> None:
    job = DesiredWork(id=JOB, status="queued", attempt=1)
    assert decide(job, runs=run_of(1, RunPhase.RUNNING)) == [MarkRunning(job_id=JOB)]
    again = running(attempt=2, phase="launching")
    assert decide(again, runs=run_of(2, RunPhase.RUNNING)) == [MarkRunning(job_id=JOB)]
    assert decide(running(), runs=run_of(1, RunPhase.RUNNING)) == []


# ---- a world in which anything may happen at any time -------------------------------------------


@dataclass
class World:
    """Rows, runs and results, changed by actions, by users and by fate."""

    rows: dict[str, DesiredWork] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Runs that are there and that the launcher's view does not show yet."""
    results: set[str] = field(default_factory=set)
    looked: dict[str, tuple[DesiredWork, Run | None, Looked]] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    told: dict[str, Told] = field(default_factory=dict)
    inputs: dict[str, Checked] = field(default_factory=dict)
    outputs: dict[str, Checked] = field(default_factory=dict)
    now: float = 0.0
    published: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    launched: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def observe(self) -> Observed:
        runs = {name: run for name, run in self.runs.items() if name not in self.hidden}
        missing = {
            job_name(row.id, row.attempt)
            for row in self.rows.values()
            if row.seen and job_name(row.id, row.attempt) not in self.runs
        }
        return Observed(
            runs=runs,
            unseen=frozenset(self.hidden),
            gone=frozenset(missing),
            looked={
                job: looked
                for job, (row, run, looked) in self.looked.items()
                if row == self.rows[job] and run == runs.get(job_name(job, row.attempt))
            },
            inputs=dict(self.inputs),
            outputs=dict(self.outputs),
            stopping=frozenset(self.stopping),
            stalled=frozenset(self.stalled),
            told=dict(self.told),
        )

    def decide(self) -> list[Action]:
        return tick(list(self.rows.values()), self.observe(), self.now, limits=LIMITS)

    def change(self, job_id: str, **values: object) -> None:
        row = self.rows[job_id]
        if row.status in TERMINAL:
            # What compare-and-set does to a decision that came too late.
            return
        self.rows[job_id] = dataclasses.replace(row, **values)
        self.history.setdefault(job_id, []).append(self.rows[job_id].status)

    def apply(self, action: Action) -> None:  # noqa: PLR0912 - one arm for each action
        match action:
            case ValidateInputs(job_id=job):
                self.inputs[job] = Checked()
            case VerifyResult(job_id=job):
                self.outputs[job] = Checked()
            case Enqueue(job_id=job):
                self.change(job, status="queued", next_attempt_at=self.now)
            case PrepareAttempt(job_id=job, attempt=attempt):
                self.change(job, attempt=attempt, next_attempt_at=None, launched_at=None, phase="queued")
            case LookInStore(job_id=job):
                row = self.rows[job]
                shown = self.observe().runs.get(job_name(job, row.attempt))
                self.looked[job] = (row, shown, Looked(result=job in self.results))
            case LaunchAttempt(job_id=job, attempt=attempt):
                name = job_name(job, attempt)
                assert name not in self.seen, "a name that was seen is never launched again"
                began = self.rows[job].launched_at or self.now
                self.change(job, launched_at=began, phase="launching")
                if name not in self.runs:
                    self.runs[name] = Run(name=name, phase=RunPhase.PENDING)
                    self.hidden.add(name)
            case AdoptAttempt(job_id=job, attempt=attempt):
                changed = {"attempt": attempt, "next_attempt_at": None, "launched_at": self.now}
                self.change(job, phase="launching", **changed)
            case ShowWaiting(job_id=job, reason=reason, queued=queued):
                self.change(job, phase="queued" if queued else "pending")
                self.told[job] = Told(reason=reason, queued=queued, at=self.now)
                self.seen.add(job_name(job, self.rows[job].attempt))
            case MarkRunning(job_id=job):
                self.change(job, status="running", phase="preparing", launched_at=self.now)
                self.seen.add(job_name(job, self.rows[job].attempt))
            case Succeed(job_id=job):
                if self.rows[job].status not in TERMINAL:
                    self.published[job] = self.published.get(job, 0) + 1
                self.change(job, status="succeeded")
            case Fail(job_id=job):
                self.change(job, status="failed")
            case Retry(job_id=job, at=at, counts=counts):
                failures = self.rows[job].failures + counts
                self.change(job, status="queued", next_attempt_at=at, failures=failures)
            case SetPaused(job_id=job):
                self.change(job, status="queued", paused=True, next_attempt_at=None)
            case StopRun(name=name):
                self.stopping.add(name)
            case RemoveRun(name=name):
                self.runs.pop(name, None)
                self.hidden.discard(name)

    def hear(self) -> None:
        """The launcher's view catches up."""
        self.hidden.clear()

    def crash(self) -> None:
        """The service dies: what only memory knew is gone."""
        self.inputs.clear()
        self.outputs.clear()
        self.stopping.clear()
        self.stalled.clear()
        self.told.clear()
        self.looked.clear()
        # A new process lists before it watches: it sees everything.
        self.hidden.clear()

    def step_runs(self, *, outcome: int) -> None:
        """Every run goes one phase further; asked to stop, it ends interrupted."""
        for name, run in list(self.runs.items()):
            job = next(row for row in self.rows.values() if name.startswith(job_name(row.id, 0)[:-1]))
            if run.phase is RunPhase.PENDING and name not in self.stopping:
                self.runs[name] = dataclasses.replace(run, phase=RunPhase.RUNNING)
            elif not is_over(run):
                code = 51 if name in self.stopping else outcome
                if code in {0, 137} and job.id not in self.results:
                    # 137: killed in the very moment after its commit.
                    self.results.add(job.id)
                self.runs[name] = dataclasses.replace(run, phase=RunPhase.EXITED, exit_code=code)


@st.composite
def chaos(draw: st.DrawFn) -> list[tuple[str, int]]:
    step = st.one_of(
        st.tuples(st.just("apply"), st.integers(0, 6)),
        st.tuples(st.just("twice"), st.integers(0, 6)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("run"), st.sampled_from([0, 1, 3, 42, 51, 52, 137])),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("hear"), st.just(0)),
        st.tuples(st.just("stall"), st.just(0)),
        st.tuples(st.just("restore"), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 2)),
        st.tuples(st.just("pause"), st.integers(0, 2)),
        st.tuples(st.just("resume"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, 2000])),
    )
    return draw(st.lists(step, max_size=60))


def disturb(world: World, what: str, how: int) -> None:  # noqa: PLR0912 - one branch for each disturbance
    jobs = list(world.rows)
    if what in {"apply", "twice"}:
        actions = world.decide()[:how]  # the process dies after the first ``how`` actions
        for action in actions:
            world.apply(action)
        for action in actions if what == "twice" else ():
            if not isinstance(action, Retry):  # applied again, it fails its compare-and-set
                world.apply(action)
    elif what == "crash":
        world.crash()
    elif what == "run":
        world.step_runs(outcome=how)
    elif what == "lose":
        world.runs = {name: dataclasses.replace(run, phase=RunPhase.LOST) for name, run in world.runs.items()}
    elif what == "forget":
        world.runs.clear()
        world.hidden.clear()
    elif what == "hear":
        world.hear()
    elif what == "stall":
        world.stalled |= {name for name, run in world.runs.items() if run.phase is RunPhase.RUNNING}
    elif what == "restore":
        restore(world, jobs[how])
    elif what == "wait":
        world.now += how
    elif what == "cancel":
        world.change(jobs[how], status="cancelled")
    elif what == "pause":
        world.change(jobs[how], wanted=Wanted.PAUSE)
    elif what == "resume" and world.rows[jobs[how]].wanted is Wanted.PAUSE:
        resume(world, jobs[how])


def restore(world: World, job: str) -> None:
    """The database is an hour old: of this job it knows the first attempt, and that it failed."""
    row = world.rows[job]
    if row.status in {"queued", "running"} and row.attempt > 1:
        before = dataclasses.replace(row, status="queued", phase="retrying", attempt=1, launched_at=None)
        world.rows[job] = dataclasses.replace(before, next_attempt_at=world.now, paused=False)
        # Names that it has forgotten may come again, and are then other runs.
        world.seen -= {job_name(job, attempt) for attempt in range(2, row.attempt + 1)}
        world.runs = {
            name: run
            for name, run in world.runs.items()
            if not is_over(run) or not name.startswith(job_name(job, 0)[:-1])
        }
        world.crash()


def resume(world: World, job: str) -> None:
    row = world.rows[job]
    at = world.now if row.paused else row.next_attempt_at
    world.change(job, wanted=Wanted.RUN, paused=False, next_attempt_at=at)


@settings(max_examples=300, deadline=None)
@given(steps=chaos())
def test_e15_whatever_happens_every_job_comes_to_rest_once(steps: list[tuple[str, int]]) -> None:
    world = World(
        rows={f"ftjob-{n}": DesiredWork(id=f"ftjob-{n}", status="validating_files") for n in range(3)}
    )
    for what, how in steps:
        disturb(world, what, how)
    for job, row in list(world.rows.items()):
        if row.wanted is Wanted.PAUSE:
            resume(world, job)
    world.crash()
    for _ in range(200):
        for action in world.decide():
            world.apply(action)
        world.hear()
        world.step_runs(outcome=0)
        world.now += 5
        if not world.decide() and not world.runs and all(r.status in TERMINAL for r in world.rows.values()):
            break
    assert {row.status for row in world.rows.values()} <= TERMINAL
    assert not world.runs
    assert world.decide() == []
    assert all(count == 1 for count in world.published.values())
    for seen in world.history.values():
        ends = [index for index, status in enumerate(seen) if status in TERMINAL]
        assert ends == [] or ends == [len(seen) - 1]
    for job, row in world.rows.items():
        assert (row.status == "succeeded") == (job in world.published)
