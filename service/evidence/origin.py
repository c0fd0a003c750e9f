"""What evidence is made from: a verified result, and what the service knows beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from importlib.metadata import version
from typing import Final

from deploy.contract.result import ModelArtifact
from service.jobs.verification import VerifiedResult
from service.settings import Settings

JOB_TAIL: Final = 12
"""Characters of the job's id, as in the id of the model."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
PACKAGE: Final = "temper-hardening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Of one hardened model."""

    verified: VerifiedResult
    image: str | None
    """That the job ran in, by digest where the operator names it so; None outside of a cluster."""

    @property
    def name(self) -> str:
        """Of the model, for people: its base and its job."""
        base = _UNSAFE.sub("-", self.verified.report.base_model).strip("-")[:64]
        return f"{base}-hardened-{self.verified.result.job_id[-JOB_TAIL:]}"

    @property
    def model(self) -> ModelArtifact:
        """The hardened one."""
        return self.verified.result.models["hardened"]

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of its files by name."""
        return {file.name: file.sha256 for file in sorted(self.model.files, key=lambda file: file.name)}

    @property
    def finished(self) -> str:
        """When its job ended. Nothing here asks a clock: the same result always has the same evidence."""
        return timestamp(self.verified.result.finished_at)


def image_of(settings: Settings) -> str | None:
    """That jobs run in; None where they are processes of this machine."""
    return None if settings.cluster is None else settings.cluster.jobs.image


def timestamp(unix_s: float) -> str:
    """A time as RFC 3339 writes it, in whole seconds."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def service_version() -> str:
    """Of this package."""
    return version(PACKAGE)
