"""temper webhooks create|list|test|deliveries: who is told of verdicts and ends, and what came of it."""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any
from typing import Final
from urllib.parse import quote

from service.client.administration import add_command
from service.client.administration import checked
from service.client.administration import every
from service.client.administration import parser_of
from service.client.administration import run
from service.client.administration import show
from service.client.command_line import Ended
from service.client.command_line import message_of
from service.client.command_line import say
from service.client.connection import Connection
from service.webhooks.events import EVENT_TYPES

PATH: Final = "/v1/webhook_endpoints"
NOT_DELIVERED: Final = 65
SHOWN: Final = ("id", "name", "url", "event_types", "enabled", "disabled_reason")
LOGGED: Final = (
    "created_at",
    "event_type",
    "status",
    "tries",
    "answer",
    "ms",
    "next_attempt_at",
    "error",
    "id",
)
GATE: Final = "hardening.verdict"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = parser_of("webhooks", "Have verdicts and ends told to a URL, and see what came of it.")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = add_command(actions, "create", "make a webhook; its secret is shown once", _create)
    create.add_argument("name", metavar="NAME")
    create.add_argument("endpoint_url", metavar="URL", help="https, on a host that the operator has listed")
    create.add_argument(
        "--event", action="append", choices=EVENT_TYPES, help=f"may be repeated; default: {GATE}"
    )
    add_command(actions, "list", "list webhooks", _list)
    test = add_command(actions, "test", "send a sample and wait for the answer (65: there is none)", _test)
    test.add_argument("webhook", metavar="WEBHOOK", help="like webhook-0123456789abcdef")
    test.add_argument("--event", choices=EVENT_TYPES, default=GATE, help="default: %(default)s")
    log = add_command(actions, "deliveries", "list what a webhook was told, the newest first", _deliveries)
    log.add_argument("webhook", metavar="WEBHOOK")
    log.add_argument("--limit", metavar="N", type=int, default=20, help="default: %(default)s")
    return run(parser, arguments)


def _one(options: argparse.Namespace) -> str:
    return f"{PATH}/{quote(options.webhook, safe='')}"


def _create(connection: Connection, options: argparse.Namespace) -> None:
    body = {"name": options.name, "url": options.endpoint_url, "event_types": options.event or [GATE]}
    made = checked(connection.post(PATH, body))
    show(options, made, ("id", "signing_secret", "url", "event_types"))
    if not options.json:
        say("Keep the secret: it is not shown again.")


def _list(connection: Connection, options: argparse.Namespace) -> None:
    show(options, list(every(connection, PATH)), SHOWN)


def _test(connection: Connection, options: argparse.Namespace) -> None:
    answer = connection.post(f"{_one(options)}/test", {"event_type": options.event})
    if answer.status in {502, 504}:
        raise Ended(NOT_DELIVERED, message_of(answer))
    told = checked(answer)
    show(options, told, ("webhook_endpoint_id", "event_type", "status_code"))
    status = told.get("status_code")
    if not isinstance(status, int) or not 200 <= status < 300:
        raise Ended(NOT_DELIVERED, f"the receiver answered {status}")


def _deliveries(connection: Connection, options: argparse.Namespace) -> None:
    found = list(islice(every(connection, f"{_one(options)}/deliveries"), max(0, options.limit)))
    show(options, found if options.json else [_flat(each) for each in found], LOGGED)


def _flat(delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery with what came of its newest try."""
    attempts = delivery.get("attempts") or []
    last = attempts[-1] if attempts else {}
    newest = {"tries": len(attempts), "answer": last.get("status")}
    return delivery | newest | {name: last.get(name) for name in ("ms", "error")}


if __name__ == "__main__":
    sys.exit(main())
