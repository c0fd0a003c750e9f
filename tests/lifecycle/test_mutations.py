"""Teeth: of each mechanism that is switched off the histories say so, by the check that is meant to."""

from collections.abc import Callable

import pytest
from hypothesis import Phase

from service.work.result_files import result_file_id
from tests.lifecycle.checks import Broken
from tests.lifecycle.checks import check
from tests.lifecycle.conftest import MakeWorld
from tests.lifecycle.machine import explore
from tests.lifecycle.mutations import MUTATIONS
from tests.lifecycle.mutations import Mutation
from tests.lifecycle.mutations import cancel_is_no_end
from tests.lifecycle.mutations import former_leaders_go_on
from tests.lifecycle.mutations import hashes_are_not_checked
from tests.lifecycle.mutations import names_of_ones_own
from tests.lifecycle.mutations import no_compare_and_set
from tests.lifecycle.mutations import no_conditional_put
from tests.lifecycle.mutations import no_unique_index
from tests.lifecycle.mutations import projects_are_not_told_apart
from tests.lifecycle.mutations import shared_prefix
from tests.lifecycle.world import World

BUDGET = 240
"""Histories, within which the machine by itself has to come upon what is off; the same ones each time."""


def launched(world: World) -> str:
    """A job whose run is there and has no pod yet. Returns the run's name."""
    world.create()
    while not world.cluster.jobs:
        world.tick()
    return next(iter(world.cluster.jobs))


def two_starts(world: World) -> None:
    """The second start of an attempt has written some of its weights when the first one commits."""
    name = launched(world)
    first, second = world.cluster.start_pod(name), world.cluster.start_pod(name)
    first.strand.advance_until(lambda: first.strand.at.endswith("/result.json"))
    second.strand.advance_until(lambda: second.strand.at.endswith("/report.json"))
    first.strand.advance()
    second.strand.advance()


def a_cancel_while_it_is_published(world: World) -> None:
    """A user cancels between the reconciler's look at a row and its change."""
    name = launched(world)
    world.cluster.start_pod(name).strand.advance()
    world.cluster.jobs[name].note_ends()
    leader, copied = world.reconcilers["A"], f"files/{result_file_id(world.jobs[0], 'report.json')}"
    while copied not in world.objects.held:
        world.tick()
    world.advance_reconciler("A", 1)
    assert leader.strand is not None
    leader.strand.advance_until(lambda: leader.strand is not None and leader.strand.at == "begin")
    world.answer(world.decide("cancel", world.jobs[0]))


def one_key_twice(world: World) -> None:
    """Two requests with one key are on their way at the same time."""
    requests = [world.submit(key="once"), world.submit(key="once")]
    for request in requests:
        world.answer(request)


def a_damaged_model(world: World) -> None:
    """A bit of the weights flips before anybody has looked at them."""
    world.cluster.start_pod(launched(world)).strand.advance()
    world.objects.damage(next(key for key in sorted(world.objects.held) if "/models/hardened/" in key))


def a_cancel_while_it_runs(world: World) -> None:
    """And the run commits all the same."""
    name = launched(world)
    pod = world.cluster.start_pod(name)
    pod.strand.advance(3)
    world.tick(2)
    world.answer(world.decide("cancel", world.jobs[0]))
    pod.strand.advance()
    world.cluster.jobs[name].note_ends()


def a_leader_that_sleeps(world: World) -> None:
    """It is left in the middle of a tick, another one leads, and it wakes up."""
    world.create()
    world.tick()
    leader = world.reconcilers["A"]
    world.advance_reconciler("A", 1)
    assert leader.strand is not None
    leader.strand.advance_until(lambda: leader.strand is not None and leader.strand.at == "begin")
    world.elect("B")
    world.advance_reconciler("A")


def one_run(world: World) -> None:
    """Nothing special."""
    launched(world)


def another_asks(world: World) -> None:
    """Another project asks for a job, and for its end."""
    job = world.create()
    world.tick()
    for verb in ("list", "get", "cancel"):
        world.ask_as_other(verb, job)


HISTORIES: dict[Callable[..., None], Callable[[World], None]] = {
    no_conditional_put: two_starts,
    no_unique_index: one_key_twice,
    no_compare_and_set: a_cancel_while_it_is_published,
    shared_prefix: two_starts,
    hashes_are_not_checked: a_damaged_model,
    cancel_is_no_end: a_cancel_while_it_runs,
    former_leaders_go_on: a_leader_that_sleeps,
    names_of_ones_own: one_run,
    projects_are_not_told_apart: another_asks,
}


def judge(world: World, happen: Callable[[World], None]) -> None:
    """Raises Broken, or what keeps it from becoming quiet."""
    happen(world)
    world.look()
    try:
        world.heal()
    finally:
        world.look()
        check(world.history)


each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)


@each_mutation
def test_e15_a_mechanism_that_is_off_is_noticed(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    happen = HISTORIES[mutation.switch_off]
    with_it = make_world()
    judge(with_it, happen)
    with_it.close()
    mutation.switch_off(monkeypatch)
    without = make_world()
    with pytest.raises(Broken) as found:
        judge(without, happen)
    without.close()
    assert str(found.value).partition(":")[0] in mutation.noticed_by


@pytest.mark.slow
@pytest.mark.timeout(1200)
@each_mutation
def test_e15_the_machine_finds_what_is_off_by_itself(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    mutation.switch_off(monkeypatch)
    with pytest.raises(Exception, match=r".") as found:
        explore(make_world, examples=BUDGET, steps=40, derandomize=True, phases=(Phase.generate,))
    assert isinstance(found.value, Broken | AssertionError)
