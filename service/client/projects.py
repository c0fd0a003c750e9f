"""temper projects create|list|archive: the tenants of a service; for its operator."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from service.client.administration import ROOT
from service.client.administration import add_command
from service.client.administration import checked
from service.client.administration import every
from service.client.administration import parser_of
from service.client.administration import run
from service.client.administration import show
from service.client.connection import Connection

SHOWN: Final = ("id", "name", "status", "created_at", "archived_at", "data")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = parser_of("projects", "Make, list and end the projects of a service. Needs the operator's key.")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = add_command(actions, "create", "make a project", _create)
    create.add_argument("name", metavar="NAME")
    listing = add_command(actions, "list", "list projects", _list)
    listing.add_argument("--archived", action="store_true", help="those that were archived as well")
    archive = add_command(actions, "archive", "end a project for good", _archive)
    archive.add_argument("project", metavar="PROJECT", help="like proj-0123456789abcdef")
    wish = archive.add_mutually_exclusive_group(required=True)
    wish.add_argument("--keep", dest="data", action="store_const", const="keep", help="lock its data away")
    wish.add_argument("--erase", dest="data", action="store_const", const="erase", help="delete its data")
    return run(parser, arguments)


def _create(connection: Connection, options: argparse.Namespace) -> None:
    show(options, checked(connection.post(ROOT, {"name": options.name})), SHOWN)


def _list(connection: Connection, options: argparse.Namespace) -> None:
    query = "?include_archived=true" if options.archived else ""
    show(options, list(every(connection, f"{ROOT}{query}")), SHOWN)


def _archive(connection: Connection, options: argparse.Namespace) -> None:
    path = f"{ROOT}/{quote(options.project, safe='')}/archive"
    show(options, checked(connection.post(path, {"data": options.data})), SHOWN)


if __name__ == "__main__":
    sys.exit(main())
