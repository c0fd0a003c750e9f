"""What one kind of work (a job, a scan) does in its own way. All the rest of reconciling it is the same."""

from abc import ABC
from abc import abstractmethod
from typing import Any
from typing import Generic

from sqlalchemy.orm import Session

from deploy.contract.document import Document
from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.launch.protocol import RunKind
from service.reconcile.listener import Heard
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository


class WorkKind(ABC, Generic[Row, EventRow, RequestRow]):
    """One kind of work. Every method may be called again after a crash."""

    run_kind: RunKind
    repository: WorkRepository[Row, EventRow, RequestRow]
    limits: Limits
    spec: type[Document]
    started: str
    """What its history says when its first run begins."""
    validated: str
    """What its history says when its inputs are found good."""

    stall_s: float | None = None
    """A run that goes on and tells nothing for so long is stopped; None lets it be silent."""

    @abstractmethod
    def desired(self, row: Row) -> DesiredWork:
        """A row, as far as decisions need it; its outline is enough."""

    @abstractmethod
    def check_inputs(self, row: Row) -> object:
        """Look at everything that the row names; in a thread, for it takes long. Not None.

        Raises:
            BadInputs: the user has to change something.
            InputsUnavailable, StoreError: nothing is known; it is tried again.
        """

    @abstractmethod
    def accepted(self, inputs: object) -> dict[str, Any]:
        """Columns that keep what :meth:`check_inputs` found."""

    @abstractmethod
    def make_spec(self, row: Row, attempt: int) -> Document:
        """The spec of an attempt: the same row and attempt always give the same bytes."""

    def resources(self, row: Row) -> Resources:
        """What its user asked of the machines."""
        return ANY_RESOURCES

    def queue(self, row: Row) -> str | None:
        """Where its user wants it to wait."""
        return None

    @abstractmethod
    def verify(self, work_id: str) -> object:
        """Hash and check everything that the result names, and copy what will be shown; in a thread. Not None.

        Raises:
            BadResult: it cannot be this row's result.
            StoreError: nothing is known; it is tried again.
        """

    @abstractmethod
    def publish(self, session: Session, row: Row, verified: object, *, now: float) -> None:
        """End the row with success, unless it is over already, and show what :meth:`verify` found."""

    @abstractmethod
    def progress(self, before: dict[str, Any], heard: Heard) -> dict[str, Any]:
        """The numbers that a row shows of its progress, after what was heard."""

    def keep(self, session: Session, row: Row, heard: Heard, *, now: float) -> None:
        """Keep what events say beside their own words."""
