"""Pairs that a list is filtered by."""

from typing import Final

from fastapi import Request

_OPEN: Final = "metadata["


def metadata_of(request: Request) -> dict[str, str]:
    """The pairs of ``?metadata[key]=value``, as OpenAI's client writes them."""
    return {
        name[len(_OPEN) : -1]: value
        for name, value in request.query_params.items()
        if name.startswith(_OPEN) and name.endswith("]")
    }
