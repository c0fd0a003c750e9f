"""temper report JOB: print a job's report, save it in any format, or gate a pipeline on its verdict.

With ``--gate`` the exit status is the verdict: 0 pass, 1 fail, 2 inconclusive. Nothing else ever ends with 0, 1 or 2
then; everything that is no verdict has a status of its own (``--help`` lists them).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any
from typing import Final
from typing import NoReturn
from urllib.parse import quote

from service.client.connection import Answer
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.table import report_table
from service.client.waiting import TooLate
from service.client.waiting import wait_for_job
from service.reports.visible import one_line

DEFAULT_URL: Final = "http://127.0.0.1:8000"
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


class Ended(Exception):  # noqa: N818 - it carries an exit status
    """The command is over, with a reason."""

    def __init__(self, status: Exit, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Not with 2, which says that a report is inconclusive."""
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="wait no longer than that")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets an escape rather than the user a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except Ended as ended:
        _say(str(ended))
        return ended.status
    except Unreachable as error:
        _say(str(error))
        return Exit.UNREACHABLE
    except Unusable as error:
        _say(str(error))
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
        _write(table.encode(errors="backslashreplace"), options.output)
    else:
        document = answer if options.format == "json" else _fetch(connection, job_id, options.format)
        _write(document.body, options.output)
    if not options.gate:
        return Exit.PASS
    _say(f"{options.job}: {report['verdict']}")
    return verdict


def _fetch(connection: Connection, job_id: str, form: str) -> Answer:
    """The report in one format.

    Raises:
        Ended: there is none, for a reason that the service tells.
    """
    answer = connection.get(f"/v1/reports/{job_id}?format={form}")
    if answer.status == 200:
        return answer
    said, code = _message(answer), answer.error_code
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


def _message(answer: Answer) -> str:
    try:
        detail: Any = answer.document().get("detail")
    except Unusable:
        detail = None
    return one_line(str(detail), limit=500) if detail else f"the service answered HTTP {answer.status}"


def _wait(connection: Connection, job_id: str, timeout_s: float | None) -> None:
    line = _Line()
    try:
        wait_for_job(connection, job_id, timeout_s=timeout_s, tell=line.show)
    except TooLate:
        raise Ended(Exit.NOT_FINISHED, f"{job_id} has not ended within {timeout_s:g} s") from None
    finally:
        line.close()


class _Line:
    """Progress on standard error: one line that changes on a terminal, a line for every change elsewhere."""

    def __init__(self) -> None:
        self._shown = ""
        self._live = sys.stderr.isatty()

    def show(self, said: str) -> None:
        """Show ``said`` instead of what was there."""
        if said == self._shown:
            return
        padded = said.ljust(len(self._shown))
        sys.stderr.write(f"\r{padded}" if self._live else f"{said}\n")
        sys.stderr.flush()
        self._shown = said

    def close(self) -> None:
        """Leave the line."""
        if self._live and self._shown:
            sys.stderr.write("\n")


def _write(data: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.flush()
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough; the verdict still counts.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    try:
        _replace(output, data)
    except OSError as error:
        raise Ended(Exit.CANNOT_WRITE, f"{output} cannot be written: {error.strerror or error}") from error


def _replace(output: Path, data: bytes) -> None:
    """Write aside and rename: a file of that name is either the old one or the whole new one."""
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as aside:
        try:
            aside.write(data)
            aside.close()
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(aside.name, 0o666 & ~umask)
            os.replace(aside.name, output)
        except BaseException:
            Path(aside.name).unlink(missing_ok=True)
            raise


def _say(said: str) -> None:
    sys.stderr.write(f"{said}\n")


if __name__ == "__main__":
    sys.exit(main())
