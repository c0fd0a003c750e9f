"""What is kept in memory of a watched object: what is looked at, so that a thousand of them cost little."""

from typing import Final

from deploy.kubernetes.client import Object

_METADATA: Final = (
    "name",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
)


def kept_metadata(found: Object) -> Object:
    """Who an object is, and when it was made and deleted."""
    metadata = found["metadata"]
    return {key: metadata[key] for key in _METADATA if key in metadata}


def without_spec(found: Object) -> Object:
    """Of an object whose specification nobody reads again."""
    return {"metadata": kept_metadata(found), "status": found.get("status") or {}}
