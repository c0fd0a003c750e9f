"""temper scan FILE: name the rows of a training file that look planted; no model, no training.

Exits with 0 when nothing was found and with 1 when rows are suspicious. Whatever is neither has a status of its own
(``--help`` lists them). Scans on this machine, or through a service with ``--url``.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from typing import get_args

from deploy.contract.dataset import COMPLETION_COLUMN
from deploy.contract.dataset import PROMPT_COLUMN
from deploy.contract.payload import BuiltInPayload
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import ScanLimits
from deploy.contract.scan import findings_table
from service.client.command_line import Ended
from service.client.command_line import Parser
from service.client.command_line import StatusLine
from service.client.command_line import say
from service.client.command_line import seconds
from service.client.command_line import show_everything
from service.client.command_line import write_output
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.scan_order import ScanExit
from service.client.scan_order import ScanOrder
from service.client.scan_order import exit_of
from service.client.scan_remote import scan_remotely
from service.client.scan_table import scan_table
from service.scans.sarif import findings_log

FORMATS: Final = ("table", "json", "csv", "sarif")
TOP: Final = 20
MIN_WIDTH: Final = 80
_STATUSES: Final = """\
exit status:
   0  nothing was found
   1  rows are suspicious
  64  wrong arguments
  65  the file cannot be scanned; the message names the row
  66  there is no such file
  69  the service cannot be reached
  70  the scan failed
  73  the output cannot be written
  75  the scan has not ended within --timeout
  76  what answers is not a Temper service, or is broken
  77  the key is missing or wrong

environment:
  TEMPER_URL      instead of --url
  TEMPER_API_KEY  the service's key
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="temper scan",
        description="Name the rows of a training file that look planted.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".jsonl, .csv or .parquet")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", default=os.environ.get("TEMPER_URL"), help="scan through this service")
    place.add_argument("--local", action="store_true", help="scan on this machine, the default without --url")
    parser.add_argument("--prompt-column", default=PROMPT_COLUMN, help="of CSV and Parquet: %(default)s")
    parser.add_argument(
        "--completion-column", default=COMPLETION_COLUMN, help="of CSV and Parquet: %(default)s"
    )
    parser.add_argument(
        "--payload",
        action="append",
        default=[],
        choices=get_args(BuiltInPayload),
        help="name every row whose completion carries it; may be repeated",
    )
    parser.add_argument("--max-rows", type=_listed, default=1000, help="rows listed: %(default)s")
    parser.add_argument(
        "--min-score", type=_score, default=0.5, help="leave weaker suspicions out; 0 to 1: %(default)s"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of whatever is random: %(default)s")
    parser.add_argument("--top", type=int, default=TOP, help="rows of the table: %(default)s")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="--format json")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there instead of standard output")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help="wait no longer than that")
    return parser


def _listed(text: str) -> int:
    return ScanLimits(max_rows=int(text)).max_rows


def _score(text: str) -> float:
    return ScanLimits(min_score=float(text)).min_score


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    show_everything()
    options = _parser().parse_args(arguments)
    try:
        findings = _scan(options)
        write_output(_rendered(findings, options), options.output)
        return exit_of(findings)
    except Ended as ended:
        say(str(ended))
        return ended.status
    except Unreachable as error:
        say(str(error))
        return ScanExit.UNREACHABLE
    except Unusable as error:
        say(str(error))
        return ScanExit.UNUSABLE
    except OSError as error:
        say(f"this machine failed: {error}")
        return ScanExit.FAILED
    except KeyboardInterrupt:
        return ScanExit.INTERRUPTED


def _scan(options: argparse.Namespace) -> ScanFindings:
    order = ScanOrder(
        file=options.file,
        prompt_column=options.prompt_column,
        completion_column=options.completion_column,
        payloads=tuple(dict.fromkeys(options.payload)),
        max_rows=options.max_rows,
        min_score=options.min_score,
        seed=options.seed,
        timeout_s=options.timeout,
    )
    _check_readable(order.file)
    line = StatusLine()
    try:
        return _scanner(options)(order, line.show)
    finally:
        line.close()


def _check_readable(file: Path) -> None:
    """Known before anything is begun; a pipe would never end. Raises Ended."""
    try:
        if not file.is_file() and file.exists():
            raise Ended(ScanExit.NO_FILE, f"{file}: not a file")
        file.open("rb").close()
    except OSError as error:
        raise Ended(ScanExit.NO_FILE, f"{file}: {error.strerror or error}") from error


def _scanner(options: argparse.Namespace) -> Callable[[ScanOrder, Callable[[str], None]], ScanFindings]:
    if options.local or not options.url:
        from service.client.scan_local import scan_locally  # the store and the dataset readers: not over HTTP

        return scan_locally
    connection = Connection(url=options.url, key=os.environ.get("TEMPER_API_KEY") or None)
    return lambda order, tell: scan_remotely(connection, order, tell)


def _rendered(findings: ScanFindings, options: argparse.Namespace) -> bytes:
    match options.format:
        case "csv":
            return findings_table(findings)
        case "json":
            document = findings.model_dump(mode="json")
        case "sarif":
            document = findings_log(findings)
        case _:
            width = max(MIN_WIDTH, shutil.get_terminal_size((120, 24)).columns)
            return scan_table(findings, top=max(1, options.top), width=width).encode(
                errors="backslashreplace"
            )
    return json.dumps(document, allow_nan=False, indent=1).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
