"""Whether the evidence beside a model holds, from bytes that lie here: nothing is asked of anybody.

Covers: files that were changed, removed, added or renamed; evidence that is missing, in part or altogether; foreign
signatures; a statement, a report, a card or a bill of another model; a verdict that the report's counts do not give.
Does not cover: whether the model is harmless. A verdict speaks of the probes that were tried.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.judgement import Judgement
from deploy.contract.judgement import Verdict
from deploy.contract.judgement import judge
from deploy.contract.report import Report
from deploy.evidence.envelope import read_object
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.names import BILL
from deploy.evidence.names import CARD
from deploy.evidence.names import DOCUMENTS
from deploy.evidence.names import PROVENANCE
from deploy.evidence.names import REPORT
from deploy.evidence.names import SIGNATURE
from deploy.evidence.names import SIGNED
from deploy.evidence.policy import AcceptancePolicy
from deploy.evidence.policy import listed
from deploy.evidence.provenance import Provenance
from deploy.evidence.provenance import read_provenance
from deploy.evidence.signature import read_signature

NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, answered."""

    name: str
    holds: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All answers; those behind one that cannot be got over are not asked."""

    checks: tuple[Check, ...]
    key_id: str | None = None
    """Whose signature it is."""
    provenance: Provenance | None = None
    judgement: Judgement | None = None
    """Made anew from the report's counts."""

    @property
    def holds(self) -> bool:
        """Whether everything that was asked holds."""
        return all(check.holds for check in self.checks)

    @property
    def verdict(self) -> Verdict | None:
        """Of the probes; None where the evidence does not hold."""
        return self.judgement.verdict if self.judgement is not None and self.holds else None

    def require(self) -> Judgement:
        """The judgement that is proven. Raises NotVerified with the first thing that does not hold."""
        for check in self.checks:
            if not check.holds:
                raise NotVerified(check.said)
        if self.judgement is None:
            raise NotVerified("the evidence was not read to its end")
        return self.judgement


def accepts(policy: AcceptancePolicy, judgement: Judgement) -> Check:
    """Whether a verdict is accepted."""
    accepted = judgement.verdict in policy.verdicts
    said = f"the verdict is {judgement.verdict}; accepted: {listed(policy.verdicts)}"
    return Check(name="policy", holds=accepted, said=said)


def verify_documents(
    documents: Mapping[str, bytes],
    files: Mapping[str, str],
    keys: Sequence[PublicKey],
    *,
    gate: AcceptancePolicy | None = None,
) -> Verification:
    """Check evidence against a model.

    Args:
        documents: the files of :data:`deploy.evidence.names.DOCUMENTS` that are there.
        files: SHA-256 of every other file of the model, recomputed, by name.
        keys: that are trusted; one has to have signed.
        gate: limits by which the report is judged instead of its own.
    """
    asked = _Asked()
    try:
        asked.ask(documents, files, keys, gate)
    except NotVerified as error:
        asked.answer(str(error), holds=False)
    return Verification(
        checks=tuple(asked.checks),
        key_id=asked.key.id if asked.key is not None else None,
        provenance=asked.provenance,
        judgement=asked.judgement,
    )


class _Asked:
    """The answers so far."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.key: PublicKey | None = None
        self.provenance: Provenance | None = None
        self.judgement: Judgement | None = None
        self._name = ""

    def answer(self, said: str, *, holds: bool = True) -> None:
        """To the question that is being asked."""
        self.checks.append(Check(name=self._name, holds=holds, said=said))

    def ask(
        self,
        documents: Mapping[str, bytes],
        files: Mapping[str, str],
        keys: Sequence[PublicKey],
        gate: AcceptancePolicy | None,
    ) -> None:
        """Everything, one after the other. Raises NotVerified where nothing more can be asked."""
        self._name = "evidence"
        _expect_documents(documents)
        self.answer(f"all of {', '.join(DOCUMENTS)} are there")
        self._name = "signature"
        signed, self.key = read_signature(documents[SIGNATURE], keys)
        self.answer(f"{SIGNATURE} is signed by the key {self.key.id[:16]}")
        self._name = "files"
        found = {**files, **{name: sha256_hex(documents[name]) for name in SIGNED}}
        for fault in differences(signed, found):
            self.answer(fault, holds=False)
        if self.checks[-1].name != "files":
            self.answer(f"{len(found)} files are what was signed, and there are no others")
        self._name = "provenance"
        self.provenance = read_provenance(documents[PROVENANCE], keys)
        _expect_subjects(self.provenance, files)
        self.answer(f"the statement is of {self.provenance.job_id}, signed, and of exactly these files")
        self._name = "report"
        report = _read_report(documents, self.provenance)
        self.answer(f"{REPORT} is the one that the statement names")
        self._name = "card"
        _expect_same(documents, self.provenance, CARD)
        _expect_same(documents, self.provenance, BILL)
        _expect_bill(documents[BILL], self.provenance)
        self.answer(f"{CARD} and {BILL} are those that the statement names")
        self._name = "verdict"
        said = judge(report).verdict
        if said != self.provenance.verdict:
            raise NotVerified(
                f"the report's counts give {said}, the statement says {self.provenance.verdict}"
            )
        if gate is not None and gate.gate is not None:
            report = report.model_copy(update={"policy": gate.gate})
        self.judgement = judge(report)
        self.answer(
            f"{self.judgement.verdict}, as the report's counts give it; it speaks of the probes tried"
        )


def differences(signed: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """What is not as it was signed, in words; a file that only has another name is told of as such."""
    gone, more = signed.keys() - found.keys(), found.keys() - signed.keys()
    by_digest = {signed[name]: name for name in sorted(gone)}
    for name in sorted(more):
        was = by_digest.get(found[name])
        yield f"{name!a} was not signed" + (f"; it is {was!a} under another name" if was else "")
    for name in sorted(gone):
        yield f"{name!a} is missing"
    for name in sorted(signed.keys() & found.keys()):
        if signed[name] != found[name]:
            yield f"{name!a} was changed"


def _expect_documents(documents: Mapping[str, bytes]) -> None:
    missing = [name for name in DOCUMENTS if name not in documents]
    if len(missing) == len(DOCUMENTS):
        raise NotVerified("there is no evidence at all: nothing proves where this model comes from")
    if missing:
        raise NotVerified(f"{', '.join(missing)} missing: the rest proves nothing without it")


def _expect_subjects(provenance: Provenance, files: Mapping[str, str]) -> None:
    faults = list(differences(provenance.subjects, files))
    if faults:
        raise NotVerified(f"{PROVENANCE}: is of other files: {'; '.join(faults[:NAMES_SHOWN])}")


def _expect_same(documents: Mapping[str, bytes], provenance: Provenance, name: str) -> None:
    if sha256_hex(documents[name]) != provenance.byproducts[name]:
        raise NotVerified(f"{name} is another one than the statement names")


def _read_report(documents: Mapping[str, bytes], provenance: Provenance) -> Report:
    _expect_same(documents, provenance, REPORT)
    try:
        report = Report.from_bytes(documents[REPORT])
    except DocumentError as error:
        raise NotVerified(f"{REPORT}: {error}") from None
    if report.job_id != provenance.job_id:
        raise NotVerified(f"{REPORT}: is of {report.job_id}, the statement of {provenance.job_id}")
    if report.policy.model_dump(mode="json") != dict(provenance.policy):
        raise NotVerified(f"{REPORT}: was judged by another policy than the statement tells")
    return report


def _expect_bill(data: bytes, provenance: Provenance) -> None:
    bill = read_object(data, what=BILL)
    try:
        files = {
            each["name"]: each["hashes"][0]["content"] for each in bill["metadata"]["component"]["components"]
        }
    except (KeyError, TypeError, IndexError):
        raise NotVerified(f"{BILL}: not the bill of a hardened model") from None
    if files != dict(provenance.subjects):
        raise NotVerified(f"{BILL}: lists other files than the statement")
