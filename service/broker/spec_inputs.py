"""What the specs of jobs and scans name, read once each: a spec is written once and never changes."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.scan import ScanSpec
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.broker.address import Address
from service.broker.authorisation import Denied
from service.broker.authorisation import JobPod

MOST_REMEMBERED: Final = 2048


class SpecInputs:
    """The inputs of attempts, by their specs. Thread-safe; reads the store for one that is not known."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], frozenset[Address]] = OrderedDict()

    def of(self, pod: JobPod) -> frozenset[Address]:
        """The objects that the spec of a pod's attempt names.

        Raises:
            Denied: there is no such spec, or none that this version can read.
            StoreError: the store failed.
        """
        attempt = (pod.job_id, pod.attempt)
        with self._lock:
            known = self._known.get(attempt)
        if known is None:
            known = self._read(pod)
            with self._lock:
                self._known[attempt] = known
                while len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return known

    def _read(self, pod: JobPod) -> frozenset[Address]:
        kind = ScanSpec if layout.is_scan(pod.job_id) else JobSpec
        try:
            spec = kind.from_bytes(self._store.get(layout.spec_key(pod.job_id, pod.attempt)))
        except ObjectMissing as error:
            raise Denied(f"{pod} has no spec.", code="spec_missing") from error
        except DocumentError as error:
            raise Denied(f"{pod} has a spec of another version: {error}.", code="spec_unreadable") from error
        return frozenset(named_in(spec, own=self._store.uri))


def named_in(spec: JobSpec | ScanSpec, *, own: str) -> Iterator[Address]:
    """Every object that a spec names: its datasets, and the files of a base model that lies in a store."""
    if isinstance(spec, ScanSpec):
        yield Address(root=own, key=spec.file.key)
        return
    for dataset in (spec.training_file, spec.validation_file, spec.probe_file):
        if dataset is not None:
            yield Address(root=own, key=dataset.key)
    if isinstance(spec.base_model, StoredBaseModel):
        for file in spec.base_model.files:
            address = Address.of_named(spec.base_model.uri, file.name, own=own)
            if address is not None:
                yield address
