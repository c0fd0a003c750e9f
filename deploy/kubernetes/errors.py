"""What a Kubernetes API server may answer that is not what was asked for.

KubernetesError
├── KubernetesUnavailable     nothing is known: ask again later
│   └── KubernetesOverloaded  429: after ``retry_after_s``, if it says so
└── KubernetesRefused         this request will never do
    ├── ObjectExists          409 on create
    ├── ObjectChanged         409: somebody wrote in between, or a precondition did not hold
    ├── ObjectGone            404
    └── HistoryGone           410: a watch or a listing has to begin anew
"""


class KubernetesError(Exception):
    """The API server did not do what it was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class KubernetesUnavailable(KubernetesError):  # noqa: N818 - a state of the server
    """The API server cannot be reached, or failed."""


class KubernetesOverloaded(KubernetesUnavailable):
    """The API server asks for patience."""

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KubernetesRefused(KubernetesError):  # noqa: N818 - a verdict, not a fault
    """The API server refused the request."""


class ObjectExists(KubernetesRefused):
    """An object of this name exists already."""


class ObjectChanged(KubernetesRefused):
    """Somebody changed the object in between."""


class ObjectGone(KubernetesRefused):
    """There is no such object, or no such kind of objects."""


class HistoryGone(KubernetesRefused):
    """The API server no longer knows that resource version."""
