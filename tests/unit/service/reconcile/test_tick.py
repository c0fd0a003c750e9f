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
from deploy.launch.protocol import RunPhase
from service.reconcile.tick import TERMINAL
from service.reconcile.tick import Action
from service.reconcile.tick import Checked
from service.reconcile.tick import DesiredWork
from service.reconcile.tick import Enqueue
from service.reconcile.tick import Fail
from service.reconcile.tick import LaunchAttempt
from service.reconcile.tick import Limits
from service.reconcile.tick import MarkRunning
from service.reconcile.tick import Observed
from service.reconcile.tick import PrepareAttempt
from service.reconcile.tick import Problem
from service.reconcile.tick import RemoveRun
from service.reconcile.tick import Retry
from service.reconcile.tick import SetPaused
from service.reconcile.tick import StopRun
from service.reconcile.tick import Succeed
from service.reconcile.tick import ValidateInputs
from service.reconcile.tick import VerifyResult
from service.reconcile.tick import Wanted
from service.reconcile.tick import is_over
from service.reconcile.tick import tick

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
    return tick([job], Observed(**seen), now, limits=LIMITS)


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
    actions = tick(queued, Observed(), 1.0, limits=LIMITS)
    assert actions == [PrepareAttempt(job_id=f"ftjob-{n}", attempt=1) for n in range(2)]
    busy = [running(), *queued]
    assert len(tick(busy, Observed(runs=run_of(1, RunPhase.RUNNING)), 1.0, limits=LIMITS)) == 1


@pytest.mark.parametrize("code", [0, 3, 51, 137])
def test_a_result_is_verified_before_it_is_believed(code: int) -> None:
    seen = {"runs": ended(1, code), "results": frozenset({JOB})}
    assert decide(running(), **seen) == [VerifyResult(job_id=JOB)]
    assert decide(running(), **seen, outputs={JOB: Checked()}) == [Succeed(job_id=JOB)]
    assert decide(running(), **seen, outputs={JOB: Checked(problem=BAD)}) == [Fail(job_id=JOB, problem=BAD)]


def test_a_result_that_a_restored_database_has_forgotten_is_adopted() -> None:
    job = DesiredWork(id=JOB, status="queued", next_attempt_at=0.0)
    assert decide(job, results=frozenset({JOB})) == [VerifyResult(job_id=JOB)]


def test_a_result_waits_for_its_run_to_end() -> None:
    seen = {"runs": run_of(1, RunPhase.RUNNING), "results": frozenset({JOB})}
    assert decide(running(), **seen) == []


@pytest.mark.parametrize("code", range(40, 50))
def test_the_users_fault_is_final_and_told(code: int) -> None:
    failure = JobFailure(exit_code=code, code="invalid_model", message="no tokenizer.json", param="model")
    name = job_name(JOB, 1)
    actions = decide(running(), runs=ended(1, code), failures={name: failure})
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


def test_the_deadline_is_kept_even_where_the_launcher_does_not() -> None:
    alive = run_of(1, RunPhase.RUNNING)
    assert decide(running(), now=1059.0, runs=alive) == []
    assert decide(running(), now=1060.0, runs=alive) == [StopRun(name=job_name(JOB, 1), grace_s=10.0)]
    for late in (decide(running(), now=1000.0, runs=ended(1, 143)), decide(running(), now=1000.0)):
        [action] = late
        assert isinstance(action, Fail)
        assert action.problem.code == "deadline_exceeded"


def test_a_row_without_a_run_is_launched_again_under_the_same_name() -> None:
    assert decide(running(attempt=2)) == [LaunchAttempt(job_id=JOB, attempt=2)]


def test_a_run_without_a_row_is_stopped_and_removed() -> None:
    name = job_name(JOB, 1)
    alive = Observed(runs=run_of(1, RunPhase.RUNNING))
    assert tick([], alive, 1.0, limits=LIMITS) == [StopRun(name=name, grace_s=10.0)]
    asked = dataclasses.replace(alive, stopping=frozenset({name}))
    assert tick([], asked, 1.0, limits=LIMITS) == []
    assert tick([], Observed(runs=ended(1, 0)), 1.0, limits=LIMITS) == [RemoveRun(name=name)]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_job_that_is_over_keeps_no_run_and_takes_no_result(status: str) -> None:
    job = DesiredWork(id=JOB, status=status, attempt=1)
    name = job_name(JOB, 1)
    results = frozenset({JOB})
    assert decide(job, runs=run_of(1, RunPhase.RUNNING), results=results) == [
        StopRun(name=name, grace_s=10.0)
    ]
    assert decide(job, runs=ended(1, 0), results=results) == [RemoveRun(name=name)]
    assert decide(job, results=results) == []


def test_pausing_stops_the_run_and_waits_for_its_end() -> None:
    job = running(wanted=Wanted.PAUSE)
    name = job_name(JOB, 1)
    assert decide(job, runs=run_of(1, RunPhase.RUNNING)) == [StopRun(name=name, grace_s=60.0)]
    assert decide(job, runs=run_of(1, RunPhase.RUNNING), stopping=frozenset({name})) == []
    assert decide(job, runs=ended(1, 51)) == [SetPaused(job_id=JOB)]
    paused = dataclasses.replace(job, status="queued", paused=True)
    assert decide(paused, runs=ended(1, 51)) == [RemoveRun(name=name)]
    assert decide(paused) == []


def test_the_run_of_an_older_attempt_is_removed() -> None:
    runs = ended(1, 52) | run_of(2, RunPhase.RUNNING)
    assert decide(running(attempt=2), runs=runs) == [RemoveRun(name=job_name(JOB, 1))]


def test_a_run_that_began_is_shown_as_running() -> None:
    job = DesiredWork(id=JOB, status="queued", attempt=1)
    assert decide(job, runs=run_of(1, RunPhase.PENDING)) == []
    assert decide(job, runs=run_of(1, RunPhase.RUNNING)) == [MarkRunning(job_id=JOB)]


# ---- a world in which anything may happen at any time -------------------------------------------


@dataclass
class World:
    """Rows, runs and results, changed by actions, by users and by fate."""

    rows: dict[str, DesiredWork] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    inputs: dict[str, Checked] = field(default_factory=dict)
    outputs: dict[str, Checked] = field(default_factory=dict)
    now: float = 0.0
    published: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)

    def observe(self) -> Observed:
        return Observed(
            runs=dict(self.runs),
            results=frozenset(self.results),
            inputs=dict(self.inputs),
            outputs=dict(self.outputs),
            stopping=frozenset(self.stopping),
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
                self.change(job, attempt=attempt, next_attempt_at=None, launched_at=None)
            case LaunchAttempt(job_id=job, attempt=attempt):
                name = job_name(job, attempt)
                self.change(job, launched_at=self.rows[job].launched_at or self.now)
                self.runs.setdefault(name, Run(name=name, phase=RunPhase.PENDING))
            case MarkRunning(job_id=job):
                self.change(job, status="running")
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

    def crash(self) -> None:
        """The service dies: what only memory knew is gone."""
        self.inputs.clear()
        self.outputs.clear()
        self.stopping.clear()

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
        st.tuples(st.just("forget"), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 2)),
        st.tuples(st.just("pause"), st.integers(0, 2)),
        st.tuples(st.just("resume"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, 2000])),
    )
    return draw(st.lists(step, max_size=60))


def disturb(world: World, what: str, how: int) -> None:
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
    elif what == "wait":
        world.now += how
    elif what == "cancel":
        world.change(jobs[how], status="cancelled")
    elif what == "pause":
        world.change(jobs[how], wanted=Wanted.PAUSE)
    elif what == "resume" and world.rows[jobs[how]].wanted is Wanted.PAUSE:
        resume(world, jobs[how])


def resume(world: World, job: str) -> None:
    row = world.rows[job]
    at = world.now if row.paused else row.next_attempt_at
    world.change(job, wanted=Wanted.RUN, paused=False, next_attempt_at=at)


@settings(max_examples=300, deadline=None)
@given(steps=chaos())
def test_whatever_happens_every_job_comes_to_rest_once(steps: list[tuple[str, int]]) -> None:
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
