"""``provenance.dsse.json``: an in-toto statement with SLSA provenance, read strictly; docs/buildtypes/harden-v1.md explains it."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import get_args

from deploy.contract.judgement import Verdict
from deploy.evidence.envelope import read_object
from deploy.evidence.envelope import unseal
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.names import BILL
from deploy.evidence.names import CARD
from deploy.evidence.names import PROVENANCE
from deploy.evidence.names import REPORT
from deploy.evidence.signature import STATEMENT

PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "tag:temper-hardening,2026:buildtypes/harden/v1"
BUILDER: Final = "tag:temper-hardening,2026:reconciler"
VERDICT: Final = "verdict"
"""Name of the byproduct that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a statement says, as far as it can be checked beside the model alone."""

    job_id: str
    subjects: Mapping[str, str]
    """SHA-256 by name, of every file that the job wrote."""
    byproducts: Mapping[str, str]
    """Likewise of report, bill of materials and model card."""
    verdict: Verdict
    policy: Mapping[str, Any]
    document: Mapping[str, Any]
    """The statement whole."""


def read_provenance(data: bytes, keys: Sequence[PublicKey]) -> Provenance:
    """The statement of an envelope.

    Args:
        data: the envelope.
        keys: of which one must have signed it.

    Raises:
        NotVerified: none of them has, or it is no provenance of a hardened model.
    """
    document, _ = unseal(read_object(data, what=PROVENANCE), keys, what=PROVENANCE)
    if document.get("_type") != STATEMENT or document.get("predicateType") != PREDICATE:
        raise NotVerified(f"{PROVENANCE}: not SLSA provenance of version 1")
    try:
        return _read(document)
    except (KeyError, TypeError, IndexError, AttributeError):
        raise NotVerified(f"{PROVENANCE}: not in the form of {BUILD_TYPE}") from None


def _read(document: dict[str, Any]) -> Provenance:
    definition = document["predicate"]["buildDefinition"]
    details = document["predicate"]["runDetails"]
    if definition["buildType"] != BUILD_TYPE or details["builder"]["id"] != BUILDER:
        raise NotVerified(f"{PROVENANCE}: of another kind of build than {BUILD_TYPE}")
    named = {each["name"]: each for each in details["byproducts"]}
    verdict = named[VERDICT]["annotations"]["verdict"]
    if verdict not in get_args(Verdict):
        raise NotVerified(f"{PROVENANCE}: {verdict!r} is no verdict")
    subjects = {str(each["name"]): str(each["digest"]["sha256"]) for each in document["subject"]}
    if len(subjects) != len(document["subject"]) or not subjects:
        raise NotVerified(f"{PROVENANCE}: names a file twice, or none")
    return Provenance(
        job_id=str(definition["externalParameters"]["job"]),
        subjects=subjects,
        byproducts={name: str(named[name]["digest"]["sha256"]) for name in (REPORT, BILL, CARD)},
        verdict=verdict,
        policy=dict(definition["internalParameters"]["policy"]),
        document=document,
    )
