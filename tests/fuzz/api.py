"""Requests to a running service, generated from its own OpenAPI document, and what is wrong with their answers.

Checked of every answer: it is no accident (5xx other than a stated 503), its status, type and body are those that the
document announces, and no route that wants a key answers without one.
"""

import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from schemathesis.checks import load_all_checks
from schemathesis.core import NOT_SET
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

NAMES: Final = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "ignored_auth",
)
STATED: Final = frozenset({501, 503})
"""Answers of a service that says what it cannot do, or not now; every other 5xx is an accident."""
_REQUEST_TIMEOUT_S: Final = 30.0


@dataclass(kw_only=True)
class Complaint:
    """One thing that is wrong, and the request that shows it."""

    operation: str
    what: str
    request: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.what}\n    {self.request}"


@dataclass(kw_only=True)
class ApiFuzzer:
    """Asks one service. ``known`` are ids that exist there, by the name of the path parameter."""

    base_url: str
    key: str
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    asked: int = 0

    def __post_init__(self) -> None:
        load_all_checks()
        self._headers = {"authorization": f"Bearer {self.key}"}
        self._schema = schemathesis.openapi.from_url(f"{self.base_url}/openapi.json", headers=self._headers)
        self._checks = [CHECKS.get_one(name) for name in NAMES]

    def operations(self) -> list[Any]:
        """Every operation of the document."""
        return [found.ok() for found in self._schema.get_all_operations()]

    def run(self, *, examples: int, seed: int, by_turns: bool = False) -> list[Complaint]:
        """So many good and so many bad requests to each operation; one complaint of a kind for each operation.

        To make the first request of a kind costs more than all others: ``by_turns`` makes good ones to every second
        operation and bad ones to the rest, the other way round with the next seed.
        """
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        return [
            complaint
            for number, operation in enumerate(self.operations())
            for mode in ((modes[(number + seed) % 2],) if by_turns else modes)
            for complaint in self._ask(operation, mode, examples, seed)
        ]

    def _ask(self, operation: Any, mode: GenerationMode, examples: int, seed: int) -> Iterator[Complaint]:
        found: dict[str, Complaint] = {}

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=self._cases(operation, mode))
        def one(case: Any) -> None:
            for what in self._wrong_with(case):
                complaint = Complaint(operation=operation.label, what=what, request=_told(case))
                found.setdefault(what.partition(":")[0], complaint)

        try:
            one()
        except hypothesis.errors.Unsatisfiable:
            return  # nothing of an operation without parameters can be wrong
        yield from found.values()

    def _cases(self, operation: Any, mode: GenerationMode) -> st.SearchStrategy[Any]:
        made = operation.as_strategy(generation_mode=mode)
        if mode is not GenerationMode.POSITIVE:
            return made
        return st.tuples(made, st.integers(0, 1 << 16)).map(self._led_to_what_is_there)

    def _led_to_what_is_there(self, drawn: tuple[Any, int]) -> Any:
        """Half of the requests are made to things that exist: made-up ids find nothing."""
        case, choice = drawn
        for name in list(case.path_parameters or ()):
            there = self.known.get(name, ())
            if there and choice % 2:
                case.path_parameters[name] = there[(choice // 2) % len(there)]
        return case

    def _wrong_with(self, case: Any) -> list[str]:
        self.asked += 1
        arguments: dict[str, Any] = {"base_url": self.base_url, "headers": self._headers}
        response = case.call(**arguments, timeout=_REQUEST_TIMEOUT_S)
        if response.status_code >= 500 and response.status_code not in STATED:
            return [f"{response.status_code}: {response.text[:300]}"]
        try:
            case.validate_response(response, checks=self._checks, headers=self._headers)
        except FailureGroup as group:
            return [f"{type(each).__name__}: {str(each)[:500]}" for each in group.exceptions]
        return []


def _told(case: Any) -> str:
    """The request in one line."""
    parts = {"path": case.path_parameters, "query": case.query, "body": case.body}
    shown = json.dumps(
        {name: repr(value)[:400] for name, value in parts.items() if value and value is not NOT_SET}
    )
    return f"{case.method} {case.path} {shown}"
