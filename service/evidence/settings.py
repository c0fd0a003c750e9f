"""What an operator decides about evidence: the key that signs it, and what may be served."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from typing import cast
from typing import get_args

from deploy.contract.judgement import Verdict
from deploy.contract.spec import Arm
from service.environment import PREFIX
from service.environment import Reader
from service.environment import SettingsError

VARIABLES: Final = (
    "SIGNING_KEY_FILE",
    "SIGNING_TRUSTED_FILE",
    "SERVE_VERDICTS",
    "SERVE_ARMS",
    "SERVE_UNSIGNED",
)
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
ARMS: Final[tuple[Arm, ...]] = get_args(Arm)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSettings:
    """Read by :func:`read_evidence`."""

    signing_key_file: Path | None = None
    """Private key, EC P-256 in PEM; of the process that reconciles alone. None makes one in the home."""
    trusted_file: Path | None = None
    """Public keys whose signatures are accepted too: those that signed before the key was changed."""
    serve_verdicts: tuple[Verdict, ...] = VERDICTS
    """The most that the policy of an endpoint may accept."""
    serve_arms: tuple[Arm, ...] = ARMS
    """That may be served at all."""
    serve_unsigned: bool = False
    """Whether the policy of an endpoint may do without evidence."""


def read_evidence(read: Reader) -> EvidenceSettings:
    """The settings of a process. Raises SettingsError."""
    return EvidenceSettings(
        signing_key_file=_path(read, "SIGNING_KEY_FILE"),
        trusted_file=_path(read, "SIGNING_TRUSTED_FILE"),
        serve_verdicts=cast(tuple[Verdict, ...], _words(read, "SERVE_VERDICTS", VERDICTS)),
        serve_arms=cast(tuple[Arm, ...], _words(read, "SERVE_ARMS", ARMS)),
        serve_unsigned=read.flag("SERVE_UNSIGNED", default=False),
    )


def _path(read: Reader, name: str) -> Path | None:
    text = read.env.get(f"{PREFIX}{name}")
    return None if not text else Path(text)


def _words(read: Reader, name: str, among: tuple[str, ...]) -> tuple[str, ...]:
    """Some of a few words, as they are ordered among them."""
    given = [word.strip() for word in read.text(name, ",".join(among)).split(",")]
    unknown = [word for word in given if word not in among]
    if unknown:
        raise SettingsError(f"{PREFIX}{name}: {unknown[0]!r} is not one of {', '.join(among)}")
    return tuple(word for word in among if word in given)
