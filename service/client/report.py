"""temper report JOB: print a job's report, save it in any format, or gate a pipeline on its verdict.

With ``--gate`` the exit status is the verdict: 0 pass, 1 fail, 2 inconclusive. Nothing else ever ends with 0, 1 or 2
then; everything that is no verdict has a status of its own (``--help`` lists them).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from service.client.command_line import DEFAULT_URL
from service.client.command_line import Ended
from service.client.command_line import Parser
from service.client.command_line import StatusLine
from service.client.command_line import message_of
from service.client.command_line import say
from service.client.command_line import seconds
from service.client.command_line import show_everything
from service.client.command_line import write_output
from service.client.connection import Answer
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.table import report_table
from service.client.waiting import TooLate
from service.client.waiting import wait_for_job

FORMATS: Final = ("json", "html", "jsonl", "sarif", "junit")


class Exit(IntEnum):
    """How the command ends. Beyond the verdicts the numbers are those of sysexits.h."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 2
    USAGE = 64
    NO_REPORT = 65
    """The job failed or was cancelled."""
    NO_JOB = 66
    UNREACHABLE = 69
    CANNOT_WRITE = 73
    NOT_FINISHED = 75
    UNUSABLE = 76
    """What answers is not this service, or is broken."""
    REFUSED = 77
    """The key is missing or wrong."""
    INTERRUPTED = 130


VERDICTS: Final = {"pass": Exit.PASS, "fail": Exit.FAIL, "inconclusive": Exit.INCONCLUSIVE}
_STATUSES: Final = """\
exit status:
   0  with --gate: pass; else: the report was printed or saved
   1  with --gate: fail
   2  with --gate: inconclusive
  64  wrong arguments
  65  the job failed or was cancelled, it has no report
  66  there is no such job
  69  the service cannot be reached
  73  the file cannot be written
  75  the job has not finished (see --wait)
  76  what answers is not a Temper service, or is broken
  77  the key is missing or wrong

environment:
  TEMPER_URL      instead of --url
  TEMPER_API_KEY  the service's key
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="temper report",
        description="Print a job's report, save it, or gate a pipeline on its verdict.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB", help="like ftjob-0123456789abcdef")
    parser.add_argument(
        "--gate", action="store_true", help="exit with 0, 1 or 2 for pass, fail, inconclusive"
    )
    parser.add_argument(
        "--url", default=os.environ.get("TEMPER_URL", DEFAULT_URL), help="default: %(default)s"
    )
    parser.add_argument("--format", choices=FORMATS, help="the document instead of the table")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there instead of standard output")
    parser.add_argument("--wait", action="store_true", help="wait until the job has ended")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help="wait no longer than that")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    show_everything()
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except Ended as ended:
        say(str(ended))
        return ended.status
    except Unreachable as error:
        say(str(error))
        return Exit.UNREACHABLE
    except Unusable as error:
        say(str(error))
        return Exit.UNUSABLE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    connection = Connection(url=options.url, key=os.environ.get("TEMPER_API_KEY") or None)
    job_id = quote(options.job, safe="")
    if options.wait:
        _wait(connection, job_id, options.timeout)
    answer = _fetch(connection, job_id, "json")
    report = answer.document()
    try:
        verdict = VERDICTS[report["verdict"]]
        table = report_table(report)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unusable(f"the answer is not a report ({error!r}); is the service of this version?") from error
    if options.format is None:
        write_output(table.encode(errors="backslashreplace"), options.output)
    else:
        document = answer if options.format == "json" else _fetch(connection, job_id, options.format)
        write_output(document.body, options.output)
    if not options.gate:
        return Exit.PASS
    say(f"{options.job}: {report['verdict']}")
    return verdict


def _fetch(connection: Connection, job_id: str, form: str) -> Answer:
    """The report in one format.

    Raises:
        Ended: there is none, for a reason that the service tells.
    """
    answer = connection.get(f"/v1/reports/{job_id}?format={form}")
    if answer.status == 200:
        return answer
    said, code = message_of(answer), answer.error_code
    if answer.status in {401, 403}:
        raise Ended(Exit.REFUSED, f"{said} (TEMPER_API_KEY is {'set' if connection.key else 'not set'})")
    if answer.status == 404 and code == "fine_tuning_job_not_found":
        raise Ended(Exit.NO_JOB, said)
    if answer.status == 404 and code == "report_not_ready":
        raise Ended(_why_not_ready(connection, job_id), said)
    if answer.status in {429, 503, 504}:
        raise Unreachable(said)
    raise Unusable(said)


def _why_not_ready(connection: Connection, job_id: str) -> Exit:
    job = connection.get(f"/v1/fine_tuning/jobs/{job_id}").document()
    return Exit.NO_REPORT if job.get("status") in {"failed", "cancelled"} else Exit.NOT_FINISHED


def _wait(connection: Connection, job_id: str, timeout_s: float | None) -> None:
    line = StatusLine()
    try:
        wait_for_job(connection, job_id, timeout_s=timeout_s, tell=line.show)
    except TooLate:
        raise Ended(Exit.NOT_FINISHED, f"{job_id} has not ended within {timeout_s:g} s") from None
    finally:
        line.close()


if __name__ == "__main__":
    sys.exit(main())
