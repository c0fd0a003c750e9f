"""What a cluster can do to the reconciler: partitions, lost answers, views that lag, Jobs that vanish or are nobody's.

The cluster is a stand-in that does all that on demand; rows, store and reconciler are real.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

import pytest
from job_world import FakeBackend
from job_world import World
from job_world import stand_in
from job_world import world as calm_world
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from deploy.contract import layout
from deploy.contract.dataset.validation import validate
from deploy.contract.result import JobFailure
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase
from service.app import create_app
from service.context import Context
from service.metrics import Metrics
from service.reconcile import ending
from service.reconcile import listener
from service.reconcile.actions import LaunchAttempt
from service.reconcile.background import TRANSIENT
from service.reconcile.loop import Reconciler
from service.reconcile.recollection import ASK_EVERY_S
from service.reconcile.recollection import GONE_AFTER_S
from service.reconcile.recollection import LINGER_S
from service.tables import JobEventRow
from service.tables import JobRequestRow
from service.tables import JobRow

__all__ = ["calm_world", "stand_in"]
BREAKS, REFUSES = 52, 42


@dataclass
class Cluster:
    """Jobs, and a view of them that hears of changes later, as a watch does."""

    jobs: dict[str, Run] = field(default_factory=dict)
    orders: dict[str, Launch] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    """Every Job that came to be."""
    asked: list[str] = field(default_factory=list)
    """Every launch that was tried."""
    stopped: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    away: bool = False
    loses_answers: bool = False
    lags: bool = False
    before_launch: Callable[[], None] = lambda: None
    _view: dict[str, Run] = field(default_factory=dict)
    _view_at: float = 0.0

    @property
    def runs(self) -> dict[str, Run]:
        """As a world looks at them."""
        return self.jobs

    def launch(self, order: Launch) -> None:
        self.asked.append(order.name)
        self._reach()
        self.before_launch()
        if order.name not in self.jobs:
            self.created.append(order.name)
            self.orders[order.name] = order
            self.jobs[order.name] = Run(name=order.name, phase=RunPhase.RUNNING)
        if self.loses_answers:
            raise LaunchError("the answer was lost")

    def observe(self) -> Mapping[str, Run]:
        self._reach()
        if not self.lags:
            self._view, self._view_at = dict(self.jobs), time.monotonic()
        return dict(self._view)

    @property
    def observed_at(self) -> float:
        return self._view_at

    def stop(self, name: str, *, grace_s: float) -> None:
        self._reach()
        self.stopped.append(name)
        if name in self.jobs:
            self.exit(name, 51)

    def remove(self, name: str) -> None:
        self._reach()
        self.removed.append(name)
        self.jobs.pop(name, None)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        return f"log of {name}"

    def close(self) -> None:
        """The Jobs go on."""

    def exit(self, name: str, code: int, **more: Any) -> None:
        self.jobs[name] = Run(name=name, phase=RunPhase.EXITED, exit_code=code, **more)

    def wait(self, name: str, reason: str, cause: RunCause | None) -> None:
        self.jobs[name] = Run(name=name, phase=RunPhase.PENDING, reason=reason, cause=cause)

    def _reach(self) -> None:
        if self.away:
            raise LaunchError("the API server cannot be reached")


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    return make_context(TEMPER_MAX_RUNNING_JOBS="10", TEMPER_RECONCILE_INTERVAL_S="0.02")


@pytest.fixture
def api(context: Context) -> Iterator[TestClient]:
    with TestClient(create_app(context), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def world(calm_world: World) -> World:
    """A world whose runs are on a cluster."""
    cluster: Any = Cluster()
    calm_world.launcher = cluster
    calm_world.restart()
    return calm_world


@pytest.fixture
def cluster(world: World) -> Cluster:
    found: Any = world.launcher
    assert isinstance(found, Cluster)
    return found


def tick(world: World, times: int = 1, *, apart_s: float = 0.0) -> None:
    """As the reconciler's supervisor does, each tick to the end of what it begins."""
    for _ in range(times):
        with suppress(*TRANSIENT):
            world.reconciler.tick()
        world.reconciler.settle()
        pass_time(world, apart_s)


def pass_time(world: World, seconds: float) -> None:
    world.context.clock.time += seconds  # type: ignore[attr-defined]


def begun(world: World, **more: Any) -> tuple[str, str]:
    """A job that runs, and the name of its run."""
    job = str(world.create(**more)["id"])
    world.settle(until="running", job_id=job)
    return job, layout.job_name(job, 1)


def told(world: World, job: str) -> list[str]:
    return [event["message"] for event in world.events(job)]


# ---- the API server -----------------------------------------------------------------------------


def test_e13_a_partition_of_thirty_ticks_costs_nothing_but_time(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    waiting = str(world.create()["id"])
    cluster.away = True
    tick(world, 30, apart_s=1.0)
    assert world.job(job)["status"] == "running"
    cluster.away = False
    assert world.finish(job)["status"] == "succeeded"
    assert world.finish(waiting)["status"] == "succeeded"
    assert sorted(cluster.created) == sorted([name, layout.job_name(waiting, 1)])


def test_e1_a_launch_whose_answer_is_lost_makes_one_job(world: World, cluster: Cluster) -> None:
    cluster.loses_answers = True
    job = str(world.create()["id"])
    tick(world, 10, apart_s=1.0)
    cluster.loses_answers = False
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created == [layout.job_name(job, 1)]


def test_a_run_that_the_cluster_never_takes_is_told_of_and_given_up(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LAUNCH_WITHIN_S", 300.0)
    job = str(world.create()["id"])

    def refuse() -> None:
        raise LaunchError("exceeded quota: jobs=10")

    cluster.before_launch = refuse
    tick(world, 8, apart_s=1.0)
    shown = world.job(job)
    assert (shown["status"], shown["hardening"]["waiting"]) == ("queued", "exceeded quota: jobs=10")
    assert sum("exceeded quota" in said for said in told(world, job)) == 1
    tick(world, 20, apart_s=30.0)
    done = world.job(job)
    assert (done["status"], done["error"]["code"]) == ("failed", "launch_failed")
    assert "exceeded quota: jobs=10" in done["error"]["message"]
    cluster.before_launch = lambda: None
    assert world.finish(str(world.create()["id"]))["status"] == "succeeded"


def test_a_quota_that_is_free_again_lets_the_run_begin(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])

    def refuse() -> None:
        raise LaunchError("exceeded quota: jobs=10")

    cluster.before_launch = refuse
    tick(world, 20, apart_s=30.0)
    cluster.before_launch = lambda: None
    done = world.finish(job)
    assert (done["status"], done["hardening"]["waiting"]) == ("succeeded", None)
    assert done["hardening"]["attempt"] == 1


def test_a_view_that_lags_neither_launches_again_nor_loses_the_run(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])
    name = layout.job_name(job, 1)
    cluster.observe()
    cluster.lags = True
    tick(world, 60, apart_s=5.0)
    assert cluster.asked == [name], "asked for once, however long the view takes"
    assert world.job(job)["hardening"]["attempt"] == 1
    cluster.lags = False
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created == [name]


def test_a_new_process_with_a_view_that_lags_asks_again_and_makes_nothing(
    world: World, cluster: Cluster
) -> None:
    job = str(world.create()["id"])
    cluster.observe()
    cluster.lags = True
    tick(world, 5)
    world.restart()
    tick(world, 5)
    assert len(cluster.asked) == 2
    cluster.lags = False
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created == [layout.job_name(job, 1)]


def test_pausing_waits_for_a_run_that_is_not_in_view_yet(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])
    cluster.observe()
    cluster.lags = True
    tick(world, 5)
    world.api.post(f"/v1/fine_tuning/jobs/{job}/pause")
    tick(world, 3)
    assert world.job(job)["hardening"]["phase"] != "paused", "its run goes on, unseen"
    cluster.lags = False
    world.settle()
    assert world.job(job)["hardening"]["phase"] == "paused"
    assert cluster.stopped == [layout.job_name(job, 1)]


def test_a_run_that_is_out_of_view_for_a_moment_is_not_given_up(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    run = cluster.jobs.pop(name)
    tick(world, 5, apart_s=GONE_AFTER_S / 6)
    cluster.jobs[name] = run
    tick(world, 5, apart_s=GONE_AFTER_S)
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created == [name]


# ---- Jobs that vanish ---------------------------------------------------------------------------


def test_e10_a_job_deleted_by_hand_is_another_attempt(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    cluster.jobs.pop(name)
    tick(world, 3)
    assert world.job(job)["hardening"]["phase"] != "retrying", "not at once"
    pass_time(world, GONE_AFTER_S)
    world.settle()
    assert any("disappeared without a result" in said for said in told(world, job))
    done = world.finish(job)
    assert (done["status"], done["hardening"]["attempt"]) == ("succeeded", 2)
    assert cluster.created == [name, layout.job_name(job, 2)]


def test_e10_a_job_that_is_deleted_each_time_ends(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])
    for _ in range(40):
        tick(world, apart_s=GONE_AFTER_S)
        if world.job(job)["hardening"]["phase"] == "preparing":
            cluster.jobs.clear()
    done = world.job(job)
    assert (done["status"], done["error"]["code"]) == ("failed", "platform_error")
    assert len(cluster.created) == 3


def test_e10_a_committed_run_that_was_tidied_away_before_it_was_seen_has_succeeded(
    world: World, cluster: Cluster
) -> None:
    job, name = begun(world)
    cluster.lags = True
    world.run_all()
    cluster.jobs.clear()
    cluster.lags = False
    world.settle()
    assert world.job(job)["status"] == "succeeded"
    assert cluster.created == [name]


def test_a_refusal_outlives_its_job(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    said = JobFailure(exit_code=REFUSES, code="invalid_dataset", message="row 3 is empty")
    world.context.store.put(layout.failure_key(job, 1, "pod-x"), said.to_bytes())
    cluster.jobs.clear()
    tick(world, 3, apart_s=GONE_AFTER_S)
    world.settle()
    assert world.job(job)["error"]["code"] == "invalid_dataset"
    assert cluster.created == [name]


def test_e12_a_row_without_a_job_is_launched_under_the_same_name(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])
    world.settle(until="launching", job_id=job)
    cluster.jobs.clear()  # created, and gone before anybody saw it
    world.restart()
    assert world.finish(job)["status"] == "succeeded"
    assert set(cluster.asked) == {layout.job_name(job, 1)}


def test_a_run_that_hangs_after_its_commit_is_stopped_and_has_succeeded(
    world: World, cluster: Cluster
) -> None:
    job, name = begun(world)
    order = cluster.orders[name]
    assert world.run_job(order.spec_uri, order.spec_sha256, "pod-1") == 0
    tick(world, 4, apart_s=ASK_EVERY_S / 2)
    assert cluster.stopped == [], "it may be about to end"
    tick(world, 2, apart_s=LINGER_S)
    assert cluster.stopped == [name]
    world.settle()
    assert world.job(job)["status"] == "succeeded"
    assert cluster.created == [name]


def test_a_result_that_is_asked_for_out_of_turn_does_not_cut_the_history_off(
    world: World, cluster: Cluster
) -> None:
    job, _ = begun(world)
    tick(world)
    pass_time(world, 2 * ASK_EVERY_S)  # so that it is asked for in the very tick that sees the run end
    world.run_all()
    world.settle()
    done = world.job(job)
    assert done["status"] == "succeeded"
    assert done["hardening"]["progress"]["hardened"]["step"] == 4
    assert "step 4" in told(world, job)


def test_g6_a_restored_row_that_waits_for_a_place_learns_of_its_result(
    world: World, cluster: Cluster
) -> None:
    job, name = begun(world)
    world.run_all()
    cluster.jobs.clear()
    with world.context.database.writing() as session:
        row = session.get(JobRow, job)
        assert row is not None
        row.attempt, row.status, row.phase, row.launched_at = 0, "queued", "queued", None
        row.next_attempt_at = int(world.context.clock.now()) + 10**6
        row.version += 1
    world.restart()
    tick(world, 3)
    assert world.job(job)["status"] == "queued", "asked for by turns only"
    tick(world, 6, apart_s=ASK_EVERY_S)
    assert world.job(job)["status"] == "succeeded"
    assert cluster.created == [name]


# ---- Jobs that are nobody's, or another's ------------------------------------------------------


def test_e11_a_job_without_a_row_is_stopped_removed_and_said(
    world: World, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    orphan, foreign = "harden-abc-1", "nightly-backup"
    cluster.jobs |= {each: Run(name=each, phase=RunPhase.RUNNING) for each in (orphan, foreign)}
    with caplog.at_level(logging.WARNING):
        world.settle()
    assert (cluster.stopped, cluster.removed) == ([orphan], [orphan])
    assert any(orphan in record.getMessage() for record in caplog.records)
    assert foreign in cluster.jobs


def test_e11_a_run_of_a_job_that_only_the_store_knows_goes_on_until_that_ends(
    world: World, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    job, name = begun(world)
    with world.context.database.writing() as session:
        session.execute(delete(JobRequestRow))
        session.execute(delete(JobEventRow))
        session.execute(delete(JobRow))
    world.restart()
    with caplog.at_level(logging.WARNING):
        tick(world, 5)
    assert cluster.stopped == []
    assert sum("temper recover" in record.getMessage() for record in caplog.records) == 1, "not every tick"
    world.context.store.put(layout.record_key("ended", job), b"{}")
    pass_time(world, 61)
    tick(world, 3)
    assert (cluster.stopped, cluster.removed) == ([name], [name])


def restore(world: World, job: str) -> None:
    """The database is an hour old: it knows of the first attempt that it failed."""
    with world.context.database.writing() as session:
        row = session.get(JobRow, job)
        assert row is not None
        row.attempt, row.status, row.phase, row.launched_at = 1, "queued", "retrying", None
        row.next_attempt_at = int(world.context.clock.now()) + 10_000
        row.version += 1
    world.restart()


def test_e11_an_attempt_that_a_restored_database_does_not_know_goes_on(
    world: World, cluster: Cluster
) -> None:
    job, _ = begun(world)
    cluster.exit(layout.job_name(job, 1), BREAKS)
    world.settle()
    pass_time(world, 400)
    world.settle()
    second = layout.job_name(job, 2)
    assert cluster.created[-1] == second
    restore(world, job)
    world.settle()
    shown = world.job(job)
    assert (shown["status"], shown["hardening"]["attempt"]) == ("running", 2)
    assert any("taken over" in said for said in told(world, job))
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created[-1] == second
    assert cluster.stopped == []


def test_e11_an_attempt_whose_spec_is_another_jobs_is_stopped(world: World, cluster: Cluster) -> None:
    job, _ = begun(world)
    cluster.exit(layout.job_name(job, 1), BREAKS)
    world.settle()
    pass_time(world, 400)
    world.settle()
    key = layout.spec_key(job, 2)
    spec = json.loads(world.context.store.get(key))
    world.context.store.put(key, json.dumps({**spec, "created_at": 5}).encode())
    restore(world, job)
    tick(world, 4)
    assert cluster.stopped == [layout.job_name(job, 2)]
    assert world.job(job)["hardening"]["attempt"] == 1


# ---- decisions that came too late ---------------------------------------------------------------


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_what_was_decided_before_its_user_changed_his_mind_is_not_done(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    job = str(world.create()["id"])
    ticks = world.reconciler._jobs
    act = ticks._act

    def act_late(actions: Any, *more: Any) -> None:
        decided = list(actions)
        if any(isinstance(each, LaunchAttempt) for each in decided):
            assert world.api.post(f"/v1/fine_tuning/jobs/{job}/{wish}").status_code == 200
        act(decided, *more)

    monkeypatch.setattr(ticks, "_act", act_late)
    world.settle()
    assert cluster.asked == []
    assert world.job(job)["hardening"]["phase"] in {"paused", "cancelled"}


# ---- two that reconcile -------------------------------------------------------------------------


def other_process(world: World) -> Reconciler:
    context = replace(world.context, metrics=Metrics())
    return Reconciler(context, world.launcher, FakeBackend(), validate=validate)


def test_e14_a_launch_that_a_former_leader_was_in_the_middle_of_is_cleared_away(
    world: World, cluster: Cluster
) -> None:
    resumed, paused = threading.Event(), threading.Event()
    job = str(world.create()["id"])
    former = world.reconciler

    def pause() -> None:
        if not paused.is_set():
            paused.set()
            assert resumed.wait(30)

    cluster.before_launch = pause
    while not paused.is_set():
        former.tick()
    world.reconciler = other_process(world)
    done = world.finish(job)
    assert (done["status"], cluster.jobs) == ("succeeded", {})
    before = world.events(job)
    resumed.set()  # the former leader wakes up, and creates the Job of an attempt that is over
    former.settle()
    assert list(cluster.jobs) == [layout.job_name(job, 1)]
    world.settle()
    assert cluster.jobs == {}
    assert world.job(job) == done
    assert world.events(job) == before
    former.close()


def test_e14_a_former_leader_that_goes_on_ticking_changes_nothing(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    former = world.reconciler
    world.reconciler = other_process(world)
    lost = threading.Event()
    lost.set()
    former.run(lost)  # it has lost the lead: from now on its hands are bound
    cluster.jobs["harden-abc-1"] = Run(name="harden-abc-1", phase=RunPhase.RUNNING)
    cluster.exit(layout.job_name("ftjob-old", 1), 0)
    for _ in range(3):
        former.tick()
        former.settle()
    assert (cluster.stopped, cluster.removed, cluster.asked) == ([], [], [name])
    assert world.finish(job)["status"] == "succeeded"
    former.close()


def test_who_leads_again_does_not_go_by_what_it_remembers(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    tick(world, 2)
    pass_time(world, 1.5 * world.context.settings.stall_s)  # while another one led, and heard
    stop = threading.Event()
    thread = threading.Thread(target=world.reconciler.run, args=(stop,))
    thread.start()
    time.sleep(1.0)
    stop.set()
    thread.join()
    assert name not in cluster.stopped
    world.restart()
    assert world.finish(job)["status"] == "succeeded"


def test_e14_two_that_both_believe_to_lead_make_one_job_and_one_history(
    world: World, cluster: Cluster
) -> None:
    rival = other_process(world)
    jobs = [str(world.create()["id"]) for _ in range(3)]
    for _ in range(30):
        tick(world)
        rival.tick()
        rival.settle()
        world.run_all()
    for job in jobs:
        assert world.job(job)["status"] == "succeeded"
        said = told(world, job)
        assert sum("successfully" in each for each in said) == 1
    assert sorted(cluster.created) == sorted(layout.job_name(job, 1) for job in jobs)
    rival.close()


# ---- store and database -------------------------------------------------------------------------


def test_a_result_that_was_committed_while_the_database_was_down_is_the_outcome(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, name = begun(world)

    def down(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(type(world.context.database), "reading", down)
        patch.setattr(type(world.context.database), "writing", down)
        world.run_all()
        tick(world, 5)
    assert world.finish(job)["status"] == "succeeded"
    assert cluster.created == [name]


def test_one_object_that_does_not_answer_keeps_no_other_job_waiting(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, _ = begun(world)
    answered = threading.Event()
    info = type(world.context.store).info

    def slow(store: Any, key: str) -> Any:
        if key == layout.result_key(stuck):
            answered.wait(30)
        return info(store, key)

    monkeypatch.setattr(type(world.context.store), "info", slow)
    cluster.exit(layout.job_name(stuck, 1), 0)
    other = str(world.create()["id"])
    slowest = 0.0
    for _ in range(60):
        before = time.monotonic()
        world.reconciler.tick()
        slowest = max(slowest, time.monotonic() - before)
        world.reconciler._background.wait()
        if world.job(other)["status"] == "running":
            break
    assert world.job(other)["status"] == "running"
    assert world.job(stuck)["status"] == "running"
    assert slowest < 5.0, "a tick waits for a moment at most"
    answered.set()


def test_a_row_that_cannot_be_acted_on_keeps_no_other_job_waiting(world: World, cluster: Cluster) -> None:
    broken, name = begun(world)
    cluster.jobs.clear()
    with world.context.database.writing() as session:
        row = session.get(JobRow, broken)
        assert row is not None
        row.launched_at, row.spec_sha256, row.status, row.phase = None, None, "queued", "queued"
    other = str(world.create()["id"])
    for _ in range(30):
        with suppress(ValueError):  # which the supervisor logs
            world.reconciler.tick()
        world.reconciler._background.wait()
    assert world.job(other)["status"] == "running"
    assert cluster.created == [name, layout.job_name(other, 1)]


def test_a_long_history_is_read_to_its_end_before_the_job_is(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "SEGMENTS_AT_ONCE", 10)
    job, name = begun(world)
    for number in range(45):
        event = {"sequence": number, "at": 1.0, "message": f"step {number}", "phase": "training", "data": {}}
        key = layout.event_segment_key(job, 1, "pod-x", number)
        world.context.store.put(key, json.dumps(event).encode() + b"\n")
    cluster.exit(name, BREAKS)
    world.settle(until="retrying", job_id=job)
    seen = told(world, job)
    assert [said for said in reversed(seen) if said.startswith("step ")] == [f"step {n}" for n in range(45)]


# ---- what its user sees -------------------------------------------------------------------------


def test_what_a_run_waits_for_is_told_once_and_shown(world: World, cluster: Cluster) -> None:
    job = str(world.create()["id"])
    name = layout.job_name(job, 1)
    world.settle(until="launching", job_id=job)
    cluster.wait(name, "place 3 in queue gpus", RunCause.QUEUED)
    tick(world, 5)
    shown = world.job(job)
    assert (shown["status"], shown["hardening"]["phase"]) == ("queued", "queued")
    assert shown["hardening"]["waiting"] == "place 3 in queue gpus"
    assert shown["hardening"]["progress"] == {}
    cluster.wait(name, "0/4 nodes have a free GPU", RunCause.UNSCHEDULABLE)
    tick(world, 5)
    world.restart()
    tick(world, 5)
    shown = world.job(job)
    assert (shown["hardening"]["phase"], shown["hardening"]["waiting"]) == (
        "pending",
        "0/4 nodes have a free GPU",
    )
    waits = [said for said in reversed(told(world, job)) if said.startswith("The run waits")]
    assert waits == [
        "The run waits: place 3 in queue gpus.",
        "The run waits: 0/4 nodes have a free GPU.",
    ]
    cluster.jobs[name] = Run(name=name, phase=RunPhase.RUNNING)
    tick(world, 3)
    shown = world.job(job)
    assert (shown["status"], shown["hardening"]["waiting"]) == ("running", None)
    assert world.finish(job)["status"] == "succeeded"


def test_a_run_that_is_taken_off_its_machine_waits_again(world: World, cluster: Cluster) -> None:
    job, name = begun(world)
    cluster.wait(name, "its pod was taken away", None)
    tick(world, 3)
    assert world.job(job)["hardening"]["waiting"] == "its pod was taken away"
    pass_time(world, 10 * world.context.settings.job_deadline_s)
    tick(world, 3)
    assert world.job(job)["status"] == "running", "waiting is nobody's deadline"
    cluster.jobs[name] = Run(name=name, phase=RunPhase.RUNNING)
    tick(world, 3)
    assert world.job(job)["hardening"]["waiting"] is None
    assert world.finish(job)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (RunCause.UNSCHEDULABLE, "unschedulable"),
        (RunCause.IMAGE_PULL_FAILED, "image_pull_failed"),
        (RunCause.OUT_OF_MEMORY, "out_of_memory"),
    ],
)
def test_an_end_that_would_come_again_is_told_at_once_with_its_reason(
    world: World, cluster: Cluster, cause: RunCause, code: str
) -> None:
    job, name = begun(world)
    cluster.jobs[name] = Run(name=name, phase=RunPhase.LOST, reason="64Gi are not enough.", cause=cause)
    world.settle()
    done = world.job(job)
    assert (done["status"], done["error"]["code"]) == ("failed", code)
    assert "64Gi are not enough" in done["error"]["message"]
    assert cluster.created == [name]
    assert cluster.jobs == {}, "nobody holds a machine any more"


def test_evictions_are_no_failures(world: World, cluster: Cluster) -> None:
    job, _ = begun(world)
    for attempt in range(1, 6):
        name = layout.job_name(job, attempt)
        cluster.jobs[name] = Run(name=name, phase=RunPhase.LOST, reason="drained", cause=RunCause.EVICTED)
        tick(world, 6, apart_s=1.0)
    assert world.finish(job)["status"] == "succeeded"
    assert len(cluster.created) == 6


def test_e8_a_run_without_progress_is_stopped_tried_once_more_and_then_given_up(
    world: World, cluster: Cluster
) -> None:
    job, _ = begun(world)
    stall_s = world.context.settings.stall_s
    store = world.context.store
    for attempt in (1, 2):
        tick(world, 6, apart_s=1.0)
        key = layout.event_segment_key(job, attempt, "pod-x", 0)
        event = {"sequence": 0, "at": 1.0, "message": "alive", "phase": "training", "data": {}}
        store.put(key, json.dumps(event).encode() + b"\n")
        tick(world, 9, apart_s=stall_s / 10)
        assert layout.job_name(job, attempt) not in cluster.stopped, "it told something meanwhile"
        tick(world, 4, apart_s=stall_s / 10)
        assert layout.job_name(job, attempt) in cluster.stopped
    world.settle()
    done = world.job(job)
    assert (done["status"], done["error"]["code"]) == ("failed", "stalled")
    assert len(cluster.created) == 2


def test_a_store_that_is_away_makes_no_run_silent(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.store.protocol import StoreUnavailable

    _, name = begun(world)
    tick(world, 2)

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("scripted")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.context.store), "list", away)
        tick(world, 3, apart_s=float(world.context.settings.stall_s))
    assert name not in cluster.stopped
