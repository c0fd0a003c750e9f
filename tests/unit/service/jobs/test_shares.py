"""Whose jobs the reconciler starts: every project's in turn, within its own limit and its GPU hours."""

from typing import Any

import pytest
from sqlalchemy import update

from service.limits.repository import LimitRepository
from service.reconcile.work_ticks import SHARES_S
from service.settings import Settings
from service.settings import settings_from_env
from service.tables import JobRow


@pytest.fixture
def settings(tmp_path: Any, database_url: str) -> Settings:
    """Of a service with places for three jobs, and GPU hours for each project."""
    return settings_from_env(
        {
            "TEMPER_HOME": str(tmp_path / "home"),
            "TEMPER_DATABASE_URL": database_url,
            "TEMPER_MAX_RUNNING_JOBS": "3",
            "TEMPER_LIMIT_RUNNING_JOBS": "2",
            "TEMPER_LIMIT_GPU_HOURS": "1",
        }
    )


def create(world: Any, count: int) -> list[str]:
    """Jobs, before the first tick."""
    file = world.upload()
    return [world.create(training_file=file, seed=number)["id"] for number in range(count)]


def test_l9_a_project_runs_no_more_than_its_own_limit(world: Any) -> None:
    create(world, 4)
    world.settle()
    # Three places, but two for one project.
    assert len(world.launcher.orders) == 2
    with world.context.database.writing() as session:
        LimitRepository(session, "default").change({"running_jobs": 3})
    world.context.clock.time += SHARES_S
    world.settle()
    assert len(world.launcher.orders) == 3
    world.run_all()
    world.settle()
    assert len(world.launcher.orders) == 4


def test_a_project_without_gpu_hours_waits_and_starts_when_it_has_some(world: Any) -> None:
    jobs = create(world, 2)
    with world.context.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == jobs[0]).values(gpus=2, machine_s=1800))
    world.settle()
    assert world.launcher.orders == {}
    with world.context.database.writing() as session:
        LimitRepository(session, "default").change({"gpu_hours": 5})
    world.context.clock.time += SHARES_S
    world.settle()
    assert len(world.launcher.orders) == 2
