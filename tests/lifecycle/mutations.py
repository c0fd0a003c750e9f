"""Each mechanism of the design, switched off: proof that what guards the promises is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import Final

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from deploy.contract import layout
from deploy.launch.protocol import Launch
from service.answers.repository import AnswerRepository
from service.answers.rows import RequestAnswerRow
from service.database import Database
from service.jobs import verification
from service.reconcile import tick
from service.reconcile import work_ticks
from service.reconcile.loop import Reconciler
from service.unix_seconds import unix_seconds
from service.work import repository
from service.work.repository import WorkRepository
from tests.lifecycle.cluster import Cluster
from tests.lifecycle.objects import Objects
from tests.lifecycle.turns import Turns

Patch = pytest.MonkeyPatch


def no_conditional_put(patch: Patch) -> None:
    """``result.json`` is written without If-None-Match."""
    once = Objects.put_once

    def put_once(self: Objects, process: str, key: str, data: bytes) -> bool:
        if key.endswith("/result.json"):
            self.put(process, key, data)
        return once(self, process, key, data)

    patch.setattr(Objects, "put_once", put_once)


def no_compare_and_set(patch: Patch) -> None:
    """A row is changed whatever has become of it."""

    def change(self: Any, session: Session, row: Any, **values: Any) -> bool:
        session.execute(
            update(self.rows)
            .where(self.rows.id == row.id)
            .values(version=self.rows.version + 1, **values)
            .execution_options(synchronize_session=False)
        )
        return True

    patch.setattr(WorkRepository, "change", change)


def no_unique_index(patch: Patch) -> None:
    """Whether a key is taken is looked up when its request arrives, and it is taken later: in both places that know keys."""
    taken = dict[str, int]()

    def claim(self: AnswerRepository, key: str, *, body_sha256: str) -> RequestAnswerRow | None:
        held = self._find(key)
        late = Turns.current is not None and taken.get(key, -1) > Turns.current.begun
        if held is not None and not late:
            return held
        taken[key] = next(Turns.moments)
        identity = {"project": self.project, "route": self.route, "key": key}
        self.session.merge(
            RequestAnswerRow(
                **identity, body_sha256=body_sha256, created_at=unix_seconds(), status=None, body=None
            )
        )
        self.session.flush()
        return None

    get = WorkRepository.get_request

    def get_request(self: Any, session: Session, project: str, key: str) -> Any:
        late = Turns.current is not None and taken.get(key, -1) > Turns.current.begun
        return None if late else get(self, session, project, key)

    def claim_request(_self: Any, session: Session, request: Any) -> bool:
        session.merge(request)
        taken[request.key] = next(Turns.moments)
        return True

    patch.setattr(AnswerRepository, "claim", claim)
    patch.setattr(WorkRepository, "get_request", get_request)
    patch.setattr(WorkRepository, "claim_request", claim_request)


def shared_prefix(patch: Patch) -> None:
    """All starts of an attempt write below the same prefix."""
    patch.setattr(
        layout, "pod_prefix", lambda job, attempt, _pod: layout.attempt_prefix(job, attempt) + "all/"
    )


def hashes_are_not_checked(patch: Patch) -> None:
    """What a result says of its objects is believed."""

    def believe(_store: object, _stored: object) -> None:
        """Nothing is read."""

    patch.setattr(verification, "verify_object", believe)
    patch.setattr(verification.verify_result, "__kwdefaults__", {"verify_weights": believe})


def cancel_is_no_end(patch: Patch) -> None:
    """The reconciler goes on with what was cancelled."""
    for module in (repository, tick, work_ticks):
        patch.setattr(module, "TERMINAL", frozenset({"succeeded", "failed"}))


def former_leaders_go_on(patch: Patch) -> None:
    """Nobody is fenced off who has lost the lead."""
    patch.setattr(Database, "fenced", lambda self, _require: self)
    patch.setattr(Reconciler, "_leads", lambda _self: True)


def names_of_ones_own(patch: Patch) -> None:
    """Every order to launch makes up another name."""
    launch, orders = Cluster.launch, iter(range(1000, 100_000))

    def launch_anew(self: Cluster, process: str, order: Launch) -> None:
        name = f"{order.name.rpartition('-')[0]}-{next(orders)}"
        launch(self, process, replace(order, name=name))

    patch.setattr(Cluster, "launch", launch_anew)


def projects_are_not_told_apart(patch: Patch) -> None:
    """A job is found by its id, whoever asks."""

    def get(self: Any, session: Session, _project: str, work_id: str) -> Any:
        return session.get(self.rows, work_id)

    patch.setattr(WorkRepository, "get", get)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A mechanism, how it is switched off, and the check that must notice."""

    switch_off: Callable[[Patch], None]
    noticed_by: frozenset[str]

    @property
    def name(self) -> str:
        """Of the mutation."""
        return self.switch_off.__name__


def _mutation(switch_off: Callable[[Patch], None], *noticed_by: str) -> Mutation:
    return Mutation(switch_off=switch_off, noticed_by=frozenset(noticed_by))


MUTATIONS: Final = (
    _mutation(no_conditional_put, "one_result"),
    _mutation(no_compare_and_set, "ends_are_final", "cancelled_is_never_served"),
    _mutation(no_unique_index, "one_key_one_job"),
    _mutation(shared_prefix, "one_result", "failure_has_a_cause"),
    _mutation(hashes_are_not_checked, "success_is_verified"),
    _mutation(cancel_is_no_end, "ends_are_final", "cancelled_is_never_served"),
    _mutation(former_leaders_go_on, "former_leaders_write_nothing"),
    _mutation(projects_are_not_told_apart, "others_see_nothing"),
    _mutation(names_of_ones_own, "one_name_per_attempt"),
)
