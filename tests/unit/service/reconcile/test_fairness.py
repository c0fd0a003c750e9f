"""Free places go around among projects; no limit is exceeded, nothing stands idle, nobody waits for ever."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.layout import job_name
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from service.reconcile.actions import PrepareAttempt
from service.reconcile.fairness import turns
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.reconcile.observation import Looked
from service.reconcile.observation import Observed
from service.reconcile.tick import tick

PROJECTS = ("a", "b", "c")
projects = st.lists(st.sampled_from(PROJECTS), max_size=12)


def queued(owners: list[str], *, start: int = 0) -> list[DesiredWork]:
    return [
        DesiredWork(id=f"ftjob-{number}", project=project, status="queued", next_attempt_at=0.0)
        for number, project in enumerate(owners, start)
    ]


def running(owners: list[str]) -> list[DesiredWork]:
    return [
        DesiredWork(id=f"ftjob-r{number}", project=project, status="running", attempt=1, launched_at=0.0)
        for number, project in enumerate(owners)
    ]


def owners_of(chosen: frozenset[str], waiting: list[DesiredWork]) -> Counter[str]:
    return Counter(job.project for job in waiting if job.id in chosen)


def test_l9_one_job_of_another_project_does_not_wait_behind_a_thousand() -> None:
    waiting = [*queued(["a"] * 1000), *queued(["b"], start=1000)]
    busy = running(["a", "a"])
    assert turns(waiting, busy, free=1, at_once={}, withheld=frozenset()) == {"ftjob-1000"}


def test_l9_places_go_around_oldest_first_within_a_project() -> None:
    waiting = queued(["a", "a", "a", "b", "b", "c"])
    chosen = turns(waiting, [], free=4, at_once={}, withheld=frozenset())
    assert chosen == {"ftjob-0", "ftjob-3", "ftjob-5", "ftjob-1"}


@given(
    owners=projects,
    busy=projects,
    free=st.integers(0, 8),
    at_once=st.dictionaries(st.sampled_from(PROJECTS), st.integers(0, 4)),
    withheld=st.frozensets(st.sampled_from(PROJECTS)),
)
def test_l9_shares_are_fair_and_limits_hold(
    owners: list[str], busy: list[str], free: int, at_once: dict[str, int], withheld: frozenset[str]
) -> None:
    waiting = queued(owners)
    chosen = turns(waiting, running(busy), free=free, at_once=at_once, withheld=withheld)
    started, held = owners_of(chosen, waiting), Counter(busy)
    assert len(chosen) <= free
    for project, count in started.items():
        assert project not in withheld
        assert held[project] + count <= at_once.get(project, 100)
    left = Counter(owners) - started
    able = [
        project
        for project in left
        if project not in withheld
        and held[project] + started[project] < at_once.get(project, 100)
        and left[project]
    ]
    # Nothing stands idle that could work.
    assert len(chosen) == free or not able
    for starved in able:
        for project in started:
            # Nobody got a place who had more than somebody who was left waiting.
            assert held[project] + started[project] <= held[starved] + started[starved] + 1
    for project in started:
        line = [job.id for job in waiting if job.project == project]
        assert set(line[: started[project]]) == chosen & set(line)


@given(owners=st.lists(st.sampled_from(PROJECTS), min_size=1, max_size=20))
def test_l9_every_job_has_its_turn(owners: list[str]) -> None:
    """Whatever the others ask for: places that become free one by one come to everybody."""
    waiting = queued(owners)
    for _ in owners:
        chosen = turns(waiting, [], free=1, at_once={}, withheld=frozenset())
        assert chosen
        waiting = [job for job in waiting if job.id not in chosen]
    assert waiting == []


def test_l9_a_tick_starts_what_has_its_turn_and_respects_a_projects_limit() -> None:
    jobs = [*running(["a"]), *queued(["a", "a", "b", "c"])]
    runs = {name: Run(name=name, phase=RunPhase.RUNNING) for name in [job_name("ftjob-r0", 1)]}
    seen = Observed(
        runs=runs,
        looked={job.id: Looked() for job in jobs},
        at_once={"a": 1},
        withheld=frozenset({"c"}),
    )
    limits = Limits(max_failures=3, max_running=5, deadline_s=1000.0)
    started = [
        action.job_id for action in tick(jobs, seen, 1.0, limits=limits) if isinstance(action, PrepareAttempt)
    ]
    assert started == ["ftjob-2"]


def test_a_job_that_has_its_result_takes_no_place() -> None:
    jobs = queued(["a", "a"])
    seen = Observed(looked={"ftjob-0": Looked(result=True), "ftjob-1": Looked()})
    limits = Limits(max_failures=3, max_running=1, deadline_s=1000.0)
    started = [
        action.job_id for action in tick(jobs, seen, 1.0, limits=limits) if isinstance(action, PrepareAttempt)
    ]
    assert started == ["ftjob-1"]
