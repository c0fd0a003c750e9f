"""The end of a project."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy
from job_world import ROWS
from job_world import World
from job_world import stand_in
from job_world import world

from deploy.contract import layout
from service.audit.rows import AuditRow
from service.context import Context
from service.projects import archiving
from service.projects.archiving import erase
from service.projects.archiving import tend_archived
from service.tables import ApiKeyRow
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import JobRow
from service.tables import ProjectRow
from service.tables import ScanRow
from service.tables import Table

__all__ = ["stand_in", "world"]
ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
Operator = Callable[..., httpx.Response]
MakeTenant = Callable[..., Any]
PROJECTS = "/v1/organization/projects"


def archive(operator: Operator, project: str, data: str) -> httpx.Response:
    return operator("POST", f"{PROJECTS}/{project}/archive", json={"data": data})


def busy_tenant(world: World, tenant: MakeTenant) -> tuple[Any, str, str, str]:
    """A tenant with a running scan, a queued job, and an endpoint."""
    context, one = world.context, tenant()
    weights = context.store.put("base_models/base-m/model.safetensors", b"weights")
    with context.database.writing() as session:
        session.add(
            BaseModelRow(
                project=one.project,
                id="m",
                key="base-m",
                status="ready",
                source={"type": "upload", "files": []},
                uri=f"{context.store.uri}/base_models/base-m",
                files=[{**weights.model_dump(), "name": "model.safetensors"}],
                architecture="decoder",
                parameters=1,
                created_at=1,
            )
        )
    files = {"file": ("f.jsonl", ROWS)}
    file = one("POST", "/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    job = one("POST", "/v1/fine_tuning/jobs", json={"model": "m", "training_file": file}).json()["id"]
    scan = one("POST", "/v1/scans", json={"file": file}).json()["id"]
    endpoint = one("POST", "/v1/endpoints", json={"model": "m"}).json()["id"]
    for _ in range(3):
        world.reconciler.tick()
        world.reconciler.settle()
    return one, job, scan, endpoint


def statuses(context: Context, project: str) -> set[str]:
    with context.database.reading() as session:
        return {
            status
            for row in (JobRow, ScanRow, EndpointRow)
            for status in session.scalars(sqlalchemy.select(row.status).where(row.project == project))
        }


def test_l10_an_archived_project_ends_at_once(world: World, operator: Operator, tenant: MakeTenant) -> None:
    one, _job, _scan, _endpoint = busy_tenant(world, tenant)
    other = tenant()
    assert statuses(world.context, one.project) - {"failed", "stopped", "cancelled"}
    answer = archive(operator, one.project, "keep").json()
    assert (answer["status"], answer["data"]) == ("archived", "keep")
    assert answer["archived_at"] is not None
    world.context.known_keys._known.clear()
    assert one("GET", "/v1/files").status_code == 401, "its key is dead"
    for _ in range(2):
        world.reconciler.tick()
        world.reconciler.settle()
    world.reconciler.tick()  # which only writes down what is there
    assert statuses(world.context, one.project) <= {"failed", "stopped", "cancelled"}
    assert other("GET", "/v1/files").status_code == 200
    listed = [each["id"] for each in operator("GET", PROJECTS).json()["data"]]
    assert one.project not in listed
    everything = operator("GET", f"{PROJECTS}?include_archived=true").json()["data"]
    assert one.project in [each["id"] for each in everything]


def test_l10_what_began_while_the_keys_died_ends_as_well(
    world: World, operator: Operator, tenant: MakeTenant
) -> None:
    one = tenant()
    one("GET", "/v1/files")
    archive(operator, one.project, "keep")
    file = one("POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("f", ROWS)}).json()["id"]
    scan = one("POST", "/v1/scans", json={"file": file})
    assert scan.status_code == 200, "this process still remembers the key"
    tend_archived(world.context)
    assert statuses(world.context, one.project) == {"cancelled"}
    tend_archived(world.context)


@pytest.mark.parametrize("wish", ["keep", "erase"])
def test_l10_data_is_erased_or_kept_as_was_wished(
    world: World, operator: Operator, tenant: MakeTenant, wish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, job, scan, _ = busy_tenant(world, tenant)
    other = tenant()
    kept = other("POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("f", ROWS)}).json()["id"]
    archive(operator, one.project, wish)
    context = world.context
    for _ in range(4):
        world.reconciler.tick()
        world.reconciler.settle()
    tend_archived(context)
    with context.database.reading() as session:
        assert session.get(ScanRow, scan) is not None, "not before everything has had time to end"
    monkeypatch.setattr(archiving, "ERASE_AFTER_S", 0)
    tend_archived(context)
    left = [found.key for found in context.store.list("")]
    mine = [key for key in left if job in key or scan in key or "base-m" in key]
    tables = rows_of(context, one.project)
    if wish == "keep":
        assert mine
        assert tables >= {"files", "jobs", "scans", "endpoints", "base_models", "api_keys"}
    else:
        assert mine == []
        assert tables <= {"audit_log"}
        assert operator("GET", f"{PROJECTS}/{one.project}").json()["data"] == "erased"
    assert layout.file_key(kept) in left
    assert other("GET", f"/v1/files/{kept}").status_code == 200
    with context.database.reading() as session:
        told = session.scalars(sqlalchemy.select(AuditRow).where(AuditRow.action.contains("archive"))).all()
    assert told, "the audit log stays"


def rows_of(context: Context, project: str) -> set[str]:
    """Names of tables in which a project has rows."""
    with context.database.reading() as session:
        return {
            table.name
            for table in Table.metadata.sorted_tables
            if "project" in table.c
            and session.scalar(sqlalchemy.select(table.c.project).where(table.c.project == project).limit(1))
        }


def test_l10_erasing_is_taken_up_again_after_a_crash(
    world: World, operator: Operator, tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, job, _, _ = busy_tenant(world, tenant)
    archive(operator, one.project, "erase")
    for _ in range(4):
        world.reconciler.tick()
        world.reconciler.settle()
    context = world.context
    deleted: list[str] = []
    real = type(context.store).delete

    def cut(self: Any, key: str) -> None:
        deleted.append(key)
        if len(deleted) == 2:
            raise OSError("the process was killed")
        real(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(type(context.store), "delete", cut)
        with pytest.raises(OSError, match="killed"):
            erase(context, one.project)
    with context.database.reading() as session:
        assert session.get(JobRow, job) is not None
    erase(context, one.project)
    assert rows_of(context, one.project) <= {"audit_log"}
    with context.database.reading() as session:
        row = session.get(ProjectRow, one.project)
        assert (
            session.scalars(sqlalchemy.select(ApiKeyRow).where(ApiKeyRow.project == one.project)).all() == []
        )
    assert row is not None
    assert row.erased_at is not None


def test_archiving_may_be_repeated_with_the_same_wish(
    operator: Operator, tenant: MakeTenant, error_of: ErrorOf
) -> None:
    one = tenant()
    first = archive(operator, one.project, "keep").json()
    assert archive(operator, one.project, "keep").json() == first
    assert error_of(archive(operator, one.project, "erase"), 409)["code"] == "archived"
    made = operator("POST", f"{PROJECTS}/{one.project}/api_keys", json={"name": "n"})
    assert error_of(made, 409)["code"] == "archived"
    assert error_of(archive(operator, "default", "erase"), 409)["code"] == "default_project"
    assert error_of(archive(operator, "proj-none", "erase"), 404)["code"] == "project_not_found"
    for body in ({}, {"data": "burn"}, {"data": "keep", "now": True}):
        error_of(operator("POST", f"{PROJECTS}/{one.project}/archive", json=body), 400)


def test_projects_are_made_named_and_listed(operator: Operator, error_of: ErrorOf) -> None:
    made = [operator("POST", PROJECTS, json={"name": f"team {n}"}).json() for n in range(3)]
    renamed = operator("POST", f"{PROJECTS}/{made[0]['id']}", json={"name": "others"}).json()
    assert renamed == {**made[0], "name": "others"} == operator("GET", f"{PROJECTS}/{made[0]['id']}").json()
    seen, after = [], ""
    while True:
        page = operator("GET", f"{PROJECTS}?limit=2{after}").json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert set(seen) == {"default", *(each["id"] for each in made)}
    error_of(operator("GET", f"{PROJECTS}?after=proj-none"), 400)
    error_of(operator("GET", f"{PROJECTS}/proj-none"), 404)
    error_of(operator("POST", f"{PROJECTS}/proj-none", json={"name": "n"}), 404)
    for body in ({}, {"name": ""}, {"name": "a\nb"}, {"name": 5}, {"name": "n", "id": "x"}):
        error_of(operator("POST", PROJECTS, json=body), 400)
