"""temper keys create|list|revoke: the API keys of a project."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any
from typing import Final
from urllib.parse import quote

from deploy.contract.layout import DEFAULT_PROJECT
from service.client.administration import ROOT
from service.client.administration import add_command
from service.client.administration import checked
from service.client.administration import every
from service.client.administration import lifetime
from service.client.administration import parser_of
from service.client.administration import run
from service.client.administration import show
from service.client.command_line import say
from service.client.connection import Connection
from service.projects.principal import GRANTABLE

SHOWN: Final = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = parser_of("keys", "Make, list and revoke the API keys of a project.")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = add_command(actions, "create", "make a key; it is shown once", _create)
    create.add_argument("name", metavar="NAME")
    create.add_argument(
        "--scope",
        action="append",
        choices=GRANTABLE,
        help="may be repeated; default: read, train, deploy and infer",
    )
    create.add_argument(
        "--expires-in", metavar="TIME", type=lifetime, help="like 90d, 12h, 30m; default: never"
    )
    listing = add_command(actions, "list", "list keys, never the keys themselves", _list)
    revoke = add_command(actions, "revoke", "end a key within five seconds", _revoke)
    revoke.add_argument("key", metavar="KEY", help="its id: the twelve characters after tmpr_")
    for action in (create, listing, revoke):
        action.add_argument("--project", default=DEFAULT_PROJECT, help="default: %(default)s")
    return run(parser, arguments)


def _path(options: argparse.Namespace) -> str:
    return f"{ROOT}/{quote(options.project, safe='')}/api_keys"


def _create(connection: Connection, options: argparse.Namespace) -> None:
    body: dict[str, Any] = {"name": options.name}
    if options.scope:
        body["scopes"] = options.scope
    if options.expires_in is not None:
        body["expires_in_s"] = options.expires_in
    made = checked(connection.post(_path(options), body))
    show(options, made, ("id", "value", "scopes", "expires_at"))
    if not options.json:
        say("Keep the value: it is not shown again.")


def _list(connection: Connection, options: argparse.Namespace) -> None:
    show(options, list(every(connection, _path(options))), SHOWN)


def _revoke(connection: Connection, options: argparse.Namespace) -> None:
    path = f"{_path(options)}/{quote(options.key, safe='')}"
    show(options, checked(connection.delete(path)), ("id", "deleted"))


if __name__ == "__main__":
    sys.exit(main())
