"""Rests of writers that died: what a store holds without being listed as an object."""

from typing import Protocol
from typing import runtime_checkable


@runtime_checkable
class Sweepable(Protocol):
    """A store in which a writer that died leaves bytes that are no object yet."""

    def sweep(self, *, older_than_s: float = ...) -> int:
        """Remove such rests of at least that age. Younger ones may belong to a living writer.

        Returns how many there were.

        Raises:
            StoreError: some may be left.
        """
        ...
