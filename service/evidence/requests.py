"""Requests for evidence, as objects: the API has no key, and the process that has one looks for them."""

from itertools import islice

from deploy.contract import layout
from deploy.store.protocol import ObjectStore


def request_evidence(store: ObjectStore, job_id: str) -> None:
    """Ask for the evidence of a job's hardened model, again. Raises StoreError."""
    store.put(layout.evidence_request_key(job_id), b"\n")


def is_requested(store: ObjectStore, job_id: str) -> bool:
    """Whether it has been asked for and is not there yet. Raises StoreError."""
    return store.info(layout.evidence_request_key(job_id)) is not None


def requests(store: ObjectStore, *, at_most: int) -> list[str]:
    """Jobs of whose models evidence is asked for. Raises StoreError."""
    found = islice(store.list(layout.EVIDENCE_REQUESTS), at_most)
    return [info.key.removeprefix(layout.EVIDENCE_REQUESTS) for info in found]


def forget_request(store: ObjectStore, job_id: str) -> None:
    """It was answered. Raises StoreError."""
    store.delete(layout.evidence_request_key(job_id))
