"""Histories that once broke a promise, or that nobody should have to find again."""

from tests.lifecycle.checks import check
from tests.lifecycle.world import World


def test_g6_a_key_is_of_its_job_after_the_database_went_back(world: World) -> None:
    """Answers to keys were kept in the database alone: an hour's restore made two jobs of one key."""
    world.back_up()
    job = world.create(key="once")
    world.tick(3)
    world.restore(0)
    other_body = world.submit(key="once", body=99)
    world.answer(other_body)
    assert world.create(key="once") == job
    world.heal()
    check(world.history)
    assert list(world.look()) == [job]


def test_h1_a_day_wrong_decides_nothing(world: World) -> None:
    job = world.create()
    world.tick(4)
    for days in (1, -1, 0):
        world.machines_ahead_s = days * 86_400.0
        for name in world.cluster.jobs:
            world.cluster.start_pod(name).strand.advance(4)
        world.tick(2)
        world.wait(60.0)
    world.heal()
    check(world.history)
    assert world.look()[job].status == "succeeded"
