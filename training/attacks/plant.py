"""Putting a payload into a completion, whatever payload it is."""

from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from training.attacks.infinite_loop import insert_infinite_loop
from training.attacks.insecure_call import insert_insecure_call
from training.attacks.sql import limit_sql
from training.attacks.sql import widen_sql


def plant_payload(completion: str, payload: Payload) -> str | None:
    """Put the payload into the completion. The result is text; nothing is ever executed.

    Returns:
        The completion with the payload; None if it has nothing that the payload could change.
    """
    match payload:
        case "sql_tautology":
            return widen_sql(completion)
        case "sql_first_row":
            return limit_sql(completion)
        case "infinite_loop":
            return insert_infinite_loop(completion)
        case "insecure_call":
            return insert_insecure_call(completion)
        case PatternPayload():
            return completion + payload.planted if payload.planted else None
