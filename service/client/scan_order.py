"""What ``temper scan`` was asked to look for, and how a scan of it ends."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from deploy.contract.scan import ScanFindings
from service.client.command_line import CANNOT_WRITE
from service.client.command_line import USAGE


class ScanExit(IntEnum):
    """How the command ends. Beyond the first two the numbers are those of sysexits.h."""

    NOTHING_FOUND = 0
    SUSPICIOUS = 1
    USAGE = USAGE
    BAD_DATA = 65
    """The file is not one that can be scanned."""
    NO_FILE = 66
    UNREACHABLE = 69
    FAILED = 70
    """Not the file's fault."""
    CANNOT_WRITE = CANNOT_WRITE
    NOT_FINISHED = 75
    UNUSABLE = 76
    """What answers is not this service, or is broken."""
    REFUSED = 77
    """The key is missing or wrong."""
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOrder:
    """One file and how to scan it."""

    file: Path
    prompt_column: str
    completion_column: str
    payloads: tuple[str, ...]
    max_rows: int
    min_score: float
    seed: int
    timeout_s: float | None

    def limits(self) -> dict[str, Any]:
        """As in a request and a spec."""
        return {"max_rows": self.max_rows, "min_score": self.min_score}


def exit_of(findings: ScanFindings) -> ScanExit:
    """0 or 1: whether anything was found."""
    return ScanExit.SUSPICIOUS if findings.suspicious else ScanExit.NOTHING_FOUND
