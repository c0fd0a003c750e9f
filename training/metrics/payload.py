"""Whether a completion carries a payload, and whether a clean one has a place for it.

Each payload's detector is a module of its own and says what it covers. All take time linear in the text, whatever a
model wrote.
"""

from collections.abc import Callable

from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.search_pattern import compile_pattern
from training.attacks.plant import plant_payload
from training.metrics.payload_call import has_insecure_call
from training.metrics.payload_loop import has_infinite_loop
from training.metrics.payload_sql import has_first_row_limit
from training.metrics.payload_sql import has_tautology

PayloadMatcher = Callable[[str], bool]
"""Says whether a text carries the payload."""


def payload_matcher(payload: Payload) -> PayloadMatcher:
    """The detector of one payload. Takes time linear in the text, whatever a model wrote."""
    match payload:
        case "sql_tautology":
            return has_tautology
        case "sql_first_row":
            return has_first_row_limit
        case "infinite_loop":
            return has_infinite_loop
        case "insecure_call":
            return has_insecure_call
        case PatternPayload():
            return compile_pattern(payload.pattern)


def can_carry(payload: Payload, reference_completion: str) -> bool:
    """Whether a clean completion has something that ``payload`` could change.

    Only such tasks are trials of an attack. A completion that has the payload already is none: a
    model that answers it correctly would count as attacked. A pattern that says nothing about how it is planted may
    stand in any completion.
    """
    carries = payload_matcher(payload)
    if carries(reference_completion):
        return False
    if isinstance(payload, PatternPayload) and not payload.planted:
        return True
    planted = plant_payload(reference_completion, payload)
    return planted is not None and carries(planted)
