"""``python -m service [role]``: the embedded service, or one part of a cluster's install.

Configured by ``TEMPER_`` variables; every role reads the same ones.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from deploy.store.protocol import StoreError
from service.environment import SettingsError
from service.home import HomeInUse
from service.roles.listening import NotStarted
from service.schema import SchemaError
from service.settings import Role
from service.settings import Settings
from service.settings import settings_from_env

MIGRATION_WAIT_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a role until it ends, or until SIGTERM or SIGINT.

    Returns the exit status: 0; 1 when database or store failed meanwhile, or a recovery left something out; 2 for a configuration, or a
    schema of the database, that cannot be.
    """
    asked = _parser().parse_args(arguments)
    role = cast(Role, asked.role or "embedded")
    try:
        return _run(settings_from_env(os.environ, role=role), asked)
    except (SettingsError, HomeInUse, SchemaError) as error:
        print(f"temper: {error}", file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return 2
    except SQLAlchemyError as error:
        # Only the class: the message holds SQL and may hold values.
        print(f"temper: the database failed: {type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1
    except NotStarted as error:
        print(f"temper: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except StoreError as error:
        print(f"temper: the object store failed: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _run(settings: Settings, asked: argparse.Namespace) -> int:
    # Each role imports what it needs, and nothing of the others.
    match settings.role:
        case "embedded":
            from service.roles import embedded

            embedded.run(settings)
        case "api":
            from service.roles import api

            api.run(settings)
        case "reconcile":
            from service.roles import reconcile

            reconcile.run(settings)
        case "broker":
            from service.roles import broker

            broker.run(settings)
        case "migrate":
            from service.roles import migrate

            migrate.run(settings, phase=asked.phase, wait_s=asked.wait)
        case "recover":
            from service.roles import recover

            return recover.run(settings, dry_run=asked.dry_run, verify=asked.verify)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service", description="Everything in one process, or one part of a cluster's install."
    )
    roles = parser.add_subparsers(dest="role", metavar="role")
    roles.add_parser("api", help="the HTTP API alone")
    roles.add_parser("reconcile", help="jobs, scans and endpoints; of several replicas one works")
    roles.add_parser("broker", help="the way from pods to the object store")
    migrate = roles.add_parser("migrate", help="bring the database's schema to this version")
    migrate.add_argument(
        "--phase",
        choices=("pre", "post"),
        help="pre: before new processes start; post: after the old ones ended",
    )
    migrate.add_argument(
        "--wait", type=float, default=MIGRATION_WAIT_S, metavar="SECONDS", help="for the database to answer"
    )
    recover = roles.add_parser("recover", help="rebuild the database from the object store")
    recover.epilog = "Stop the service first: what it does meanwhile is not seen."
    recover.add_argument(
        "--dry-run", action="store_true", help="tell what would be rebuilt, and keep nothing"
    )
    recover.add_argument(
        "--verify", action="store_true", help="read the weights of every model to their end; may take hours"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
