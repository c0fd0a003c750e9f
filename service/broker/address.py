"""Where an object lies, written one way: the root of a store, and a key in it.

Text against text, nothing is contacted: two addresses are the same object exactly when they are equal.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote
from urllib.parse import unquote

from deploy.store.opening import InvalidUri
from deploy.store.opening import canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An object, or (where a listing or a deletion is meant) a prefix of keys."""

    root: str
    """Canonical URI of a store: the service's own one for everything in it."""
    key: str

    @classmethod
    def of(cls, store: str, key: str, *, own: str) -> Self:
        """The address of ``key`` in the store ``store``, which may be a directory or prefix of ``own``.

        Args:
            store: canonical URI without a trailing slash.
            key: plain; not checked here.
            own: canonical URI of the service's store.
        """
        if store == own:
            return cls(root=own, key=key)
        if store.startswith(f"{own}/"):
            inside = store.removeprefix(f"{own}/")
            if own.startswith("file:"):
                inside = unquote(inside, errors="surrogateescape")
            return cls(root=own, key=f"{inside}/{key}")
        return cls(root=store, key=key)

    @classmethod
    def of_named(cls, uri: str, name: str, *, own: str) -> Self | None:
        """The address of a file below a URI that the service wrote; None for a URI that no store has."""
        try:
            return cls.of(canonical(uri), name, own=own)
        except InvalidUri:
            return None

    def __str__(self) -> str:
        return f"{self.root}/{quote(self.key, safe='/')[:400]}"
