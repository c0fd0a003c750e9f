"""Whether a store is fit for use: asked once, when a process starts."""

from typing import Protocol
from typing import runtime_checkable

from deploy.store.protocol import ObjectStore


@runtime_checkable
class Checked(Protocol):
    """A store that depends on settings and permissions which somebody else made."""

    def check(self) -> None:
        """Do once, on an object of its own, what the store's methods will need.

        Raises:
            StoreRefused: something does not work; the message names the setting or the permission.
            StoreUnavailable: nothing is known.
        """
        ...


def check_store(store: ObjectStore) -> None:
    """Check a store that can be. A directory cannot: its first write tells as much.

    Raises:
        StoreRefused, StoreUnavailable: see :class:`Checked`.
    """
    if isinstance(store, Checked):
        store.check()
