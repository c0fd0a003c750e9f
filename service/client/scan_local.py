"""Scanning a file on this machine, without a service: the process that a service would start, on a store of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from deploy.contract import layout
from deploy.contract.dataset import DatasetError
from deploy.contract.dataset.validation import validate_in_child
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.event import JobEvent
from deploy.contract.exit_codes import is_users
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.result import JobFailure
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import ScanSpec
from deploy.contract.spec import DatasetRef
from deploy.store.directory import DirStore
from deploy.store.opening import object_uri
from deploy.store.protocol import ObjectMissing
from service.client.command_line import Ended
from service.client.progress_bar import progress_bar
from service.client.scan_order import ScanExit
from service.client.scan_order import ScanOrder
from service.reports.visible import one_line
from service.scans.verification import verify_scan
from service.work.stored import BadResult

SCAN: Final = "scan-local"
POD: Final = "local"
MODULE: Final = "training.scan"
POLL_S: Final = 0.1
STOP_S: Final = 10.0


def scan_locally(order: ScanOrder, tell: Callable[[str], None]) -> ScanFindings:
    """The findings of a scan of this machine's own.

    Raises:
        Ended: there are none, and why.
        OSError: the file cannot be read, or the disk is full.
    """
    if find_spec("training") is None:
        said = "this installation cannot scan by itself: name a service with --url"
        raise Ended(ScanExit.UNREACHABLE, said)
    tell("checking the file")
    with tempfile.TemporaryDirectory(prefix="temper-scan-") as directory:
        store = DirStore(Path(directory) / "store")
        described = _describe(store, order)
        spec = _spec(store, described, order)
        process, log = _start(store, spec, Path(directory))
        _follow(process, store, order, tell)
        return _outcome(process.returncode, store, log)


def _describe(store: DirStore, order: ScanOrder) -> DatasetRef:
    try:
        summary = validate_in_child(
            order.file,
            order.file.name,
            prompt_column=order.prompt_column,
            completion_column=order.completion_column,
        )
    except DatasetError as error:
        raise Ended(ScanExit.BAD_DATA, f"{order.file.name}: {error}") from error
    except IntakeChildFailed as error:
        raise Ended(ScanExit.FAILED, f"{order.file.name} cannot be checked: {error}") from error
    key = layout.file_key("file-local")
    store.put_file(key, order.file)
    return DatasetRef(
        key=key,
        filename=order.file.name.encode(errors="replace").decode(),
        size_bytes=summary.size_bytes,
        sha256=summary.sha256,
        format=summary.format,
        prompt_column=order.prompt_column,
        completion_column=order.completion_column,
        rows=summary.rows,
    )


def _spec(store: DirStore, described: DatasetRef, order: ScanOrder) -> ScanSpec:
    document = {
        "scan_id": SCAN,
        "attempt": 1,
        "store_uri": store.uri,
        "payloads": order.payloads,
        "limits": order.limits(),
        "seed": order.seed,
        "created_at": int(time.time()),
    }
    return ScanSpec.model_validate({**document, "file": described})


def _start(store: DirStore, spec: ScanSpec, directory: Path) -> tuple[subprocess.Popen[bytes], Path]:
    data = spec.to_bytes()
    key = layout.spec_key(SCAN, 1)
    store.put(key, data)
    log = directory / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-m",
                MODULE,
                "--spec",
                object_uri(store, key),
                "--sha256",
                sha256_hex(data),
            ],
            env={**os.environ, "TEMPER_POD": POD, "TEMPER_SCRATCH": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return process, log


def _follow(
    process: subprocess.Popen[bytes], store: DirStore, order: ScanOrder, tell: Callable[[str], None]
) -> None:
    """Wait for its end, and stop it rather than leave it behind."""
    started = time.monotonic()
    try:
        while process.poll() is None:
            said = _newest(store)
            if said is not None:
                tell(said)
            if order.timeout_s is not None and time.monotonic() - started > order.timeout_s:
                raise Ended(ScanExit.NOT_FINISHED, f"the scan has not ended within {order.timeout_s:g} s")
            time.sleep(POLL_S)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _newest(store: DirStore) -> str | None:
    segments = list(store.list(layout.events_prefix(SCAN, 1, POD)))
    if not segments:
        return None
    event = JobEvent.from_bytes(store.get(segments[-1].key).splitlines()[-1])
    return progress_bar(event.phase, {"message": event.message, **event.data})


def _outcome(code: int, store: DirStore, log: Path) -> ScanFindings:
    if code == 0:
        try:
            return verify_scan(store, SCAN).findings
        except (BadResult, ObjectMissing) as error:
            raise Ended(ScanExit.FAILED, f"the scan's result cannot be trusted: {error}") from error
    status = ScanExit.BAD_DATA if is_users(code) else ScanExit.FAILED
    try:
        failure = JobFailure.from_bytes(store.get(layout.failure_key(SCAN, 1, POD)))
    except (ObjectMissing, DocumentError):
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise Ended(status, one_line(last or f"the scan ended with {code}", limit=500)) from None
    raise Ended(status, one_line(failure.message, limit=500))
