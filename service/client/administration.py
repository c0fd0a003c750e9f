"""What the commands about projects and keys have in common: one request, its answer as a table or as JSON."""

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final
from urllib.parse import quote

from service.client.command_line import DEFAULT_URL
from service.client.command_line import USAGE
from service.client.command_line import Ended
from service.client.command_line import Parser
from service.client.command_line import message_of
from service.client.command_line import say
from service.client.command_line import show_everything
from service.client.command_line import write_output
from service.client.connection import Answer
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.table import columns
from service.reports.visible import one_line
from service.reports.visible import visible

NOT_THERE: Final = 66
UNREACHABLE: Final = 69
UNUSABLE: Final = 76
REFUSED: Final = 77
INTERRUPTED: Final = 130
ROOT: Final = "/v1/organization/projects"
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PAGE: Final = 100
MISSING: Final = frozenset({"project_not_found", "api_key_not_found", "webhook_endpoint_not_found"})
STATUSES: Final = """\
exit status:
   0  it is done
  64  wrong arguments
  66  there is no such project, key or webhook
  69  the service cannot be reached
  76  what answers is not a Temper service, or is broken
  77  the key is missing or wrong, or may not do this

environment:
  TEMPER_URL      instead of --url
  TEMPER_API_KEY  the operator's key, or one of a project with the scope that this needs
"""
Command = Callable[[Connection, argparse.Namespace], None]


def lifetime(text: str) -> int:
    """Seconds of an argument like ``90d``, ``12h``, ``30m``. Raises ValueError, which argparse explains."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * UNITS[match[2]]


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that all these commands have."""
    parser = Parser(
        prog=f"temper {name}",
        description=description,
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    url = os.environ.get("TEMPER_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help="default: %(default)s")
    return parser


def add_command(actions: Any, name: str, help_text: str, command: Command) -> argparse.ArgumentParser:
    """One action; its arguments are added by the caller."""
    action: argparse.ArgumentParser = actions.add_parser(name, help=help_text, description=help_text)
    action.add_argument("--json", action="store_true", help="print JSON")
    action.set_defaults(command=command)
    return action


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse, ask, print. Returns the exit status."""
    show_everything()
    options = parser.parse_args(arguments)
    connection = Connection(url=options.url, key=os.environ.get("TEMPER_API_KEY") or None)
    try:
        options.command(connection, options)
    except Ended as ended:
        say(str(ended))
        return ended.status
    except Unreachable as error:
        say(str(error))
        return UNREACHABLE
    except Unusable as error:
        say(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def checked(answer: Answer) -> dict[str, Any]:
    """The document of an answer that is no error.

    Raises:
        Ended: an error that the user can understand.
        Unreachable, Unusable: one that is the service's.
    """
    if answer.status == 200:
        return answer.document()
    said = message_of(answer)
    if answer.status in {401, 403}:
        raise Ended(REFUSED, said)
    if answer.status in {400, 409}:
        raise Ended(USAGE, said)
    if answer.status == 404 and answer.error_code in MISSING:
        raise Ended(NOT_THERE, said)
    if answer.status in {429, 503, 504}:
        raise Unreachable(said)
    raise Unusable(said)


def every(connection: Connection, path: str) -> Iterator[dict[str, Any]]:
    """All things of a list, page by page. Raises as :func:`checked`."""
    after = ""
    while True:
        page = checked(connection.get(f"{path}{'&' if '?' in path else '?'}limit={PAGE}{after}"))
        try:
            yield from page["data"]
            if not page["has_more"]:
                return
            after = f"&after={quote(page['last_id'], safe='')}"
        except (KeyError, TypeError) as error:
            raise Unusable(
                f"the answer is not a list ({error!r}); is the service of this version?"
            ) from error


def show(
    options: argparse.Namespace, found: dict[str, Any] | list[dict[str, Any]], names: Sequence[str]
) -> None:
    """Print what was answered: one thing or several, as a table of some of its fields."""
    if options.json:
        write_output((json.dumps(found, indent=2) + "\n").encode(), None)
        return
    rows = found if isinstance(found, list) else [found]
    head = [name.removesuffix("_at").replace("_", " ") for name in names]
    table = columns(head, ([_cell(row.get(name), name) for name in names] for row in rows), left=len(names))
    write_output((visible("\n".join(table)) + "\n").encode(errors="backslashreplace"), None)


def _cell(value: Any, name: str) -> str:
    if value is None:
        return "-"
    if name.endswith("_at") and isinstance(value, int):
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(value))
    if isinstance(value, list):
        return ",".join(map(str, value))
    return one_line(str(value), limit=120)
