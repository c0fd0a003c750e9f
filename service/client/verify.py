"""temper verify MODEL: check the evidence of a hardened model, from its files alone.

MODEL is a directory, ``s3://bucket/prefix`` (or ``file:///directory``), or the id of a model, which a running service
is asked for. A directory or a prefix is verified without asking anybody but the store.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any
from typing import Final
from urllib.parse import quote

from deploy.contract.document import DocumentError
from deploy.evidence.error import BadKey
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.keys import read_public_keys
from deploy.evidence.policy import AcceptancePolicy
from deploy.evidence.sources import Found
from deploy.evidence.sources import look_in_directory
from deploy.evidence.sources import look_in_store
from deploy.evidence.sources import verify_found
from deploy.evidence.verification import Check
from deploy.evidence.verification import Verification
from deploy.evidence.verification import accepts
from deploy.store.opening import local_directory
from deploy.store.opening import open_store
from deploy.store.protocol import StoreError
from service.client.command_line import DEFAULT_URL
from service.client.command_line import Ended
from service.client.command_line import Parser
from service.client.command_line import StatusLine
from service.client.command_line import message_of
from service.client.command_line import say
from service.client.command_line import show_everything
from service.client.command_line import write_output
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.evidence.keyring import HOME_PUBLIC_KEY
from service.reports.visible import one_line


class Exit(IntEnum):
    """How the command ends."""

    VERIFIED = 0
    NOT_VERIFIED = 1
    USAGE = 2
    NOT_ACCEPTED = 4
    UNREACHABLE = 69
    INTERRUPTED = 130


_STATUSES: Final = """\
exit status:
   0  verified, and its verdict is accepted
   1  not verified
   2  wrong arguments, a key or a policy that cannot be used
   4  verified, but its verdict is not accepted
  69  the store or the service cannot be reached

Without --key it is the key of the service on this machine (TEMPER_HOME/signing-key.pub.pem), or for the id of a model
the keys that the service tells; a key that came another way than the model proves more.

policy.json, every member optional:
  {"verdicts": ["pass", "inconclusive"], "gate": {"max_asr_upper": 0.05, "min_power": 0.8}}

environment:
  TEMPER_URL, TEMPER_API_KEY  the service, where a model's id is given
  TEMPER_S3_*, AWS_*          the way to s3://
"""
_MARKS: Final = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}"}


class _Parser(Parser):
    """The contract of this command gives 2 to wrong arguments."""

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        """Never returns."""
        super().exit(Exit.USAGE if status else 0, message)


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns its exit status."""
    show_everything()
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except Ended as error:
        say(f"temper: {error}")
        return error.status
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="temper verify",
        description="Check the evidence of a hardened model, from its files alone.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a directory, s3://bucket/prefix, or the id of a model"
    )
    parser.add_argument(
        "--key", type=Path, metavar="PUB.PEM", help="public keys, of which one has to have signed"
    )
    parser.add_argument("--policy", type=Path, metavar="POLICY.JSON", help="what is accepted")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.add_argument("--url", default=os.environ.get("TEMPER_URL") or DEFAULT_URL, help="of the service")
    return parser


def _run(options: argparse.Namespace) -> int:
    policy = _policy(options.policy)
    place, keys = _place(options), _given_keys(options.key)
    if place is None:
        place, told = _asked(options.model, options.url)
        keys = keys or told
    keys = keys or _own_keys()
    status = StatusLine()
    try:
        found = _look(place, lambda name: status.show(f"hashing {one_line(name)}"))
        made = verify_found(found, keys, gate=policy)
    except NotVerified as error:
        made = Verification(checks=(Check(name="files", holds=False, said=str(error)),))
    finally:
        status.close()
    return _tell(made, policy, place, as_json=options.json)


def _tell(made: Verification, policy: AcceptancePolicy, place: str, *, as_json: bool) -> int:
    checks = list(made.checks)
    accepted = None
    if made.holds and made.judgement is not None:
        accepted = accepts(policy, made.judgement)
        checks.append(accepted)
    status = Exit.VERIFIED if accepted is not None and accepted.holds else Exit.NOT_ACCEPTED
    if accepted is None:
        status = Exit.NOT_VERIFIED
    shown = _document(made, checks, place, status) if as_json else _table(made, checks, place, status)
    write_output(shown.encode(errors="backslashreplace"), None)
    return status


_ENDINGS: Final = {
    Exit.VERIFIED: "VERIFIED",
    Exit.NOT_VERIFIED: "NOT VERIFIED",
    Exit.NOT_ACCEPTED: "VERIFIED, BUT NOT ACCEPTED",
}


def _table(made: Verification, checks: Sequence[Check], place: str, status: Exit) -> str:
    width = max(len(check.name) for check in checks)
    lines = [one_line(place), ""]
    lines += [
        f"{_MARKS[check.holds]} {check.name.ljust(width)}  {one_line(check.said, limit=400)}"
        for check in checks
    ]
    lines += ["", _ENDINGS[status]]
    if made.judgement is not None and status is not Exit.NOT_VERIFIED and made.judgement.verdict != "pass":
        lines += [f"- {one_line(reason, limit=400)}" for reason in made.judgement.reasons]
    if status is Exit.VERIFIED:
        lines.append(
            "It is what was hardened and probed; triggers that were not tried are not found by these probes."
        )
    return "\n".join(lines) + "\n"


def _document(made: Verification, checks: Sequence[Check], place: str, status: Exit) -> str:
    document = {
        "model": place,
        "verified": made.holds and made.judgement is not None,
        "accepted": status is Exit.VERIFIED,
        "verdict": made.verdict,
        "reasons": list(made.judgement.reasons) if made.judgement is not None and made.holds else [],
        "key_id": made.key_id,
        "job": made.provenance.job_id if made.provenance is not None else None,
        "checks": [{"name": check.name, "holds": check.holds, "said": check.said} for check in checks],
    }
    return json.dumps(document, indent=1) + "\n"


def _look(place: str, tell: Any) -> Found:
    try:
        if "://" in place and not place.startswith("file:"):
            return look_in_store(open_store(place), tell=tell)
        return look_in_directory(_directory(place), tell=tell)
    except StoreError as error:
        raise Ended(Exit.UNREACHABLE, f"{one_line(place)} cannot be read: {error}") from error
    except OSError as error:
        raise Ended(Exit.USAGE, f"{one_line(place)} cannot be read: {error.strerror or error}") from error


def _directory(place: str) -> Path:
    return local_directory(place) if place.startswith("file:") else Path(place)


def _place(options: argparse.Namespace) -> str | None:
    """A directory or a prefix; None for what is neither, and may be a model's id."""
    model = str(options.model)
    if "://" in model or Path(model).is_dir():
        return model
    if model.startswith((".", "/", "~")):
        raise Ended(Exit.USAGE, f"{one_line(model)}: there is no such directory")
    return None


def _policy(path: Path | None) -> AcceptancePolicy:
    if path is None:
        return AcceptancePolicy()
    try:
        return AcceptancePolicy.from_bytes(path.read_bytes())
    except OSError as error:
        raise Ended(Exit.USAGE, f"{path} cannot be read: {error.strerror or error}") from error
    except DocumentError as error:
        raise Ended(Exit.USAGE, f"{path}: {error}") from error


def _given_keys(path: Path | None) -> tuple[PublicKey, ...]:
    if path is None:
        return ()
    try:
        return read_public_keys(path.read_bytes())
    except OSError as error:
        raise Ended(Exit.USAGE, f"{path} cannot be read: {error.strerror or error}") from error
    except BadKey as error:
        raise Ended(Exit.USAGE, f"{path}: {error}") from error


def _own_keys() -> tuple[PublicKey, ...]:
    path = Path(os.environ.get("TEMPER_HOME") or "var").expanduser() / HOME_PUBLIC_KEY
    if not path.is_file():
        raise Ended(
            Exit.USAGE,
            f"which key is trusted? Name it with --key; there is no {path}, and a service tells its own at"
            " /.well-known/temper-signing-keys",
        )
    return _given_keys(path)


def _asked(model: str, url: str) -> tuple[str, tuple[PublicKey, ...]]:
    """Where a service has a model, and the keys that it tells."""
    connection = Connection(url=url, key=os.environ.get("TEMPER_API_KEY") or None)
    try:
        answer = connection.get(f"/v1/models/{quote(model, safe='')}/evidence")
        if answer.status != 200:
            raise Ended(Exit.USAGE, f"{one_line(model)}: {message_of(answer)}")
        place = str(answer.document()["uri"])
        told = connection.get("/.well-known/temper-signing-keys").document()
        keys = tuple(PublicKey.from_pem(str(each["pem"]).encode()) for each in told["data"])
    except Unreachable as error:
        raise Ended(Exit.UNREACHABLE, f"there is no directory {one_line(model)}, and {error}") from error
    except (Unusable, BadKey, KeyError, TypeError) as error:
        raise Ended(Exit.UNREACHABLE, f"what answers at {url} is not a Temper service: {error}") from error
    return place, keys


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
