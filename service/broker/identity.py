"""Who calls: a pod, by the token that its kubelet gave it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """What the API server says of a token that is bound to a pod."""

    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str


class ReviewUnavailable(Exception):  # noqa: N818 - a fact, not a fault
    """Whose token it is cannot be found out now; nobody is let in meanwhile."""


class Reviewer(Protocol):
    """Finds out whose token it is. Thread-safe; blocks."""

    def review(self, token: str) -> PodIdentity | None:
        """The pod that a token was given to; None for a token that is not good here.

        Raises:
            ReviewUnavailable: the question was not answered.
        """
        ...
