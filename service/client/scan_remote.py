"""Scanning a file through a service: upload, create, follow, fetch."""

from collections.abc import Callable
from typing import Any
from typing import Final
from urllib.parse import quote

from deploy.contract.document import DocumentError
from deploy.contract.scan import ScanFindings
from service.client.command_line import Ended
from service.client.command_line import message_of
from service.client.connection import Answer
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.progress_bar import progress_bar
from service.client.scan_order import ScanExit
from service.client.scan_order import ScanOrder
from service.client.waiting import TooLate
from service.client.waiting import wait_until_ended
from service.reports.visible import one_line

POLL_S: Final = 0.5


def scan_remotely(connection: Connection, order: ScanOrder, tell: Callable[[str], None]) -> ScanFindings:
    """The findings of a scan that a service makes.

    Raises:
        Ended: there are none, for a reason that the service tells.
        Unreachable, Unusable: see :mod:`service.client.connection`.
        OSError: the file cannot be read.
    """
    tell(f"uploading {one_line(order.file.name, limit=60)}")
    file_id = _id_of(_expect(connection, connection.upload("/v1/files", order.file, purpose="fine-tune")))
    body = {
        "file": file_id,
        "columns": {"prompt": order.prompt_column, "completion": order.completion_column},
        "payloads": list(order.payloads),
        "limits": order.limits(),
        "seed": order.seed,
    }
    path = f"/v1/scans/{_id_of(_expect(connection, connection.post('/v1/scans', body)))}"
    try:
        wait_until_ended(
            connection, path, describe=_describe, poll_s=POLL_S, timeout_s=order.timeout_s, tell=tell
        )
    except TooLate:
        said = f"the scan has not ended within {order.timeout_s:g} s; it goes on, see {path}"
        raise Ended(ScanExit.NOT_FINISHED, said) from None
    return _findings(connection, _expect(connection, connection.get(path)))


def _describe(scan: dict[str, Any]) -> str:
    progress = scan.get("progress")
    phase = str(scan.get("phase") or scan.get("status"))
    return progress_bar(phase, progress if isinstance(progress, dict) else {})


def _expect(connection: Connection, answer: Answer) -> dict[str, Any]:
    """The document of an answer that is 200.

    Raises:
        Ended: the service refuses the key or the file.
        Unreachable: it cannot answer for now.
        Unusable: it answers something else.
    """
    if answer.status == 200:
        return answer.document()
    said = message_of(answer)
    if answer.status in {401, 403}:
        key = "set" if connection.key else "not set"
        raise Ended(ScanExit.REFUSED, f"{said} (TEMPER_API_KEY is {key})")
    if answer.status in {429, 503, 504}:
        raise Unreachable(said)
    if answer.status in {400, 413} and answer.error_code is not None:
        raise Ended(ScanExit.BAD_DATA, said)
    raise Unusable(said)


def _id_of(document: dict[str, Any]) -> str:
    identity = document.get("id")
    if not isinstance(identity, str):
        raise Unusable("the answer has no id; is the service of this version?")
    return quote(identity, safe="")


def _findings(connection: Connection, scan: dict[str, Any]) -> ScanFindings:
    status = scan.get("status")
    if status != "succeeded":
        error = scan.get("error")
        told = error if isinstance(error, dict) else {}
        # Whoever uploads a file is at fault where the service names the file.
        code = ScanExit.BAD_DATA if told.get("param") == "file" else ScanExit.FAILED
        raise Ended(code, one_line(str(told.get("message") or f"the scan was {status}"), limit=500))
    files = scan.get("result_files")
    if not isinstance(files, list) or not files:
        raise Unusable("the scan has no result files; is the service of this version?")
    answer = connection.get(f"/v1/files/{quote(str(files[-1]), safe='')}/content")
    if answer.status != 200:
        raise Unusable(message_of(answer))
    try:
        return ScanFindings.from_bytes(answer.body)
    except DocumentError as error:
        raise Unusable(f"the findings are none ({error}); is the service of this version?") from error
