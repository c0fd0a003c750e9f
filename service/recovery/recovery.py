"""One recovery from its beginning to its end. May be repeated: what is there stays as it is."""

from collections.abc import Callable

from deploy.contract import layout
from deploy.store.protocol import ObjectStore
from service.database import Database
from service.jobs.publication import RESULT_FILES as JOB_FILES
from service.recovery.base_models import rebuild_base_models
from service.recovery.bounded import children
from service.recovery.files import rebuild_files
from service.recovery.tally import Tally
from service.recovery.units import units
from service.recovery.work import WorkRebuilder
from service.scans.publication import RESULT_FILES as SCAN_FILES
from service.work.result_files import result_file_id

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and how many there are."""


def recover(
    database: Database,
    store: ObjectStore,
    *,
    now: float,
    dry_run: bool = False,
    verify: bool = False,
    progress: Progress = lambda _what, _done, _of: None,
) -> Tally:
    """Add to the database everything that the object store knows and the database does not.

    Args:
        database: migrated; empty, or partly filled.
        store: only read, but for copies of results, which are made again.
        now: Unix seconds.
        dry_run: keep nothing; tell what would be done.
        verify: read the weights of every model to their end; else their sizes are compared.
        progress: told now and then.

    Raises:
        StoreError: the store failed. Run it again: what was rebuilt stays.
        sqlalchemy.exc.SQLAlchemyError: likewise the database.
    """
    tally = Tally()
    work = _work_ids(store)
    names = {work_id: SCAN_FILES if layout.is_scan(work_id) else JOB_FILES for work_id in work}
    results = {result_file_id(work_id, name) for work_id in work for name in names[work_id]}
    with units(database, tally, dry_run=dry_run) as made:
        progress("files", 0, len(work))
        rebuild_files(made, store, tally, now=int(now), results=results)
        progress("base models", 0, len(work))
        rebuild_base_models(made, store, tally, now=int(now))
        rebuilder = WorkRebuilder(
            units=made, store=store, tally=tally, now=now, verify=verify, dry_run=dry_run
        )
        for done, work_id in enumerate(work):
            progress("jobs and scans", done, len(work))
            rebuilder.rebuild(work_id)
        progress("jobs and scans", len(work), len(work))
    return tally


def _work_ids(store: ObjectStore) -> list[str]:
    """Of every job and scan that the store knows, by its record or by its objects."""
    recorded = (
        name.removesuffix(".json")
        for name in children(store, layout.records_prefix("work").removesuffix("/"))
    )
    found = {*recorded, *children(store, "jobs"), *children(store, "scans")}
    # Their ids hold the time at which they were made.
    return sorted(found, key=lambda identity: (identity.rpartition("-")[2], identity))
