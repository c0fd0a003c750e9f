"""Rows of scans, their events and creating requests. See :mod:`service.work.repository`."""

from typing import Final

from service.tables import ScanEventRow
from service.tables import ScanRequestRow
from service.tables import ScanRow
from service.work.repository import WorkRepository

SCANS: Final = WorkRepository(
    rows=ScanRow, events=ScanEventRow, requests=ScanRequestRow, event_prefix="scanevent"
)
