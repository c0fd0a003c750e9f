"""What a pod may do at this moment: its scope, narrowed by the state of its job or endpoint.

A job that was cancelled or is over may write nothing, and after a grace read nothing; an attempt after which another
one was begun may write nothing, for the attempt is the fencing token. A result is put while its job's row is locked,
so a cancel comes either before it, and it is refused, or after it: no result is ever committed after a cancel.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy.orm import Session

from deploy.contract import layout
from deploy.evidence.names import DOCUMENTS
from service.broker.address import Address
from service.broker.authorisation import Account
from service.broker.authorisation import Accounts
from service.broker.authorisation import Denied
from service.broker.authorisation import EndpointPod
from service.broker.authorisation import JobPod
from service.broker.authorisation import Pod
from service.broker.authorisation import Scope
from service.broker.authorisation import pod_of
from service.broker.authorisation import scope_of_endpoint
from service.broker.authorisation import scope_of_job
from service.broker.identity import PodIdentity
from service.broker.spec_inputs import SpecInputs
from service.context import Context
from service.endpoints.repository import ENDED
from service.endpoints.servable import find_servable
from service.tables import EndpointRow
from service.tables import JobRow
from service.tables import ScanRow
from service.work.ends import TERMINAL


class Authoriser(Protocol):
    """Decides what a pod may do now. Thread-safe; blocks."""

    def scope(self, identity: PodIdentity) -> Scope:
        """All that a pod may do. Raises Denied for a pod that may do nothing."""
        ...

    def committing(self, identity: PodIdentity) -> AbstractContextManager[None]:
        """While it lasts, the pod's job is not over and cannot end. Raises Denied when it is."""
        ...


class DatabaseAuthoriser:
    """An Authoriser by the service's rows and the specs that it wrote."""

    def __init__(self, context: Context, accounts: Accounts, *, read_grace_s: float) -> None:
        self._context = context
        self._accounts = accounts
        self._read_grace_s = read_grace_s
        self._inputs = SpecInputs(context.store)

    def scope(self, identity: PodIdentity) -> Scope:
        """See the protocol."""
        pod = self._pod(identity)
        return self._of_job(pod) if isinstance(pod, JobPod) else self._of_endpoint(pod)

    @contextmanager
    def committing(self, identity: PodIdentity) -> Iterator[None]:
        """See the protocol."""
        pod = self._pod(identity)
        if not isinstance(pod, JobPod):
            raise Denied(f"{pod} has no result to commit.")
        with self._context.database.writing() as session:
            why = _closed(pod, _row(session, pod, lock=True))
            if why is not None:
                raise why
            yield

    def _pod(self, identity: PodIdentity) -> Pod:
        account = Account(namespace=identity.namespace, name=identity.service_account)
        return pod_of(account=account, name=identity.pod_name, uid=identity.pod_uid, accounts=self._accounts)

    def _of_job(self, pod: JobPod) -> Scope:
        with self._context.database.reading() as session:
            row = _row(session, pod)
        self._refuse_long_over(pod, row)
        scope = scope_of_job(pod, own=self._context.store.uri, inputs=self._inputs.of(pod))
        why = _closed(pod, row)
        return scope if why is None else scope.without_writes(why)

    def _refuse_long_over(self, pod: JobPod, row: JobRow | ScanRow) -> None:
        if row.status not in TERMINAL:
            return
        if self._context.clock.now() - (row.finished_at or 0) >= self._read_grace_s:
            raise Denied(f"{pod} may do nothing any more: it has {row.status}.", code="job_over")

    def _of_endpoint(self, pod: EndpointPod) -> Scope:
        own = self._context.store.uri
        with self._context.database.reading() as session:
            row = session.get(EndpointRow, pod.endpoint_id)
            if row is None or row.status in ENDED:
                raise Denied(f"{pod} serves nothing: its endpoint has ended.", code="endpoint_over")
            servable = find_servable(session, row.project, row.model_id)
        if servable is None:
            raise Denied(f"{pod} serves nothing: its model was deleted.", code="model_deleted")
        names = (*(file.name for file in servable.files), *DOCUMENTS)
        named = (Address.of_named(servable.uri, name, own=own) for name in names)
        files = {address for address in named if address is not None}
        order = Address(root=own, key=layout.endpoint_order_key(pod.endpoint_id))
        return scope_of_endpoint(pod, own=own, files=files | {order})


def _row(session: Session, pod: JobPod, *, lock: bool = False) -> JobRow | ScanRow:
    locked = True if lock else None
    row: JobRow | ScanRow | None
    if layout.is_scan(pod.job_id):
        row = session.get(ScanRow, pod.job_id, with_for_update=locked)
    else:
        row = session.get(JobRow, pod.job_id, with_for_update=locked)
    if row is None:
        raise Denied(f"{pod} may do nothing: there is no such job.", code="job_unknown")
    return row


def _closed(pod: JobPod, row: JobRow | ScanRow) -> Denied | None:
    """Why a pod of this job may not write."""
    if row.status in TERMINAL:
        return Denied(f"{pod} may not write any more: it has {row.status}.", code="job_over")
    if pod.attempt < row.attempt:
        return Denied(
            f"{pod} may not write any more: attempt {row.attempt} has begun.", code="attempt_superseded"
        )
    return None
