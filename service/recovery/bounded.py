"""Reading a store that may hold anything: documents up to a size, folders without what lies in them."""

from collections.abc import Iterator

from deploy.contract.document import DocumentError
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.recovery.records import RECORD_BYTES


def read_bounded(store: ObjectStore, key: str) -> bytes:
    """A small document's bytes. Raises ObjectMissing; DocumentError when there are too many."""
    info = store.info(key)
    if info is None:
        raise ObjectMissing(key)
    if info.size_bytes > RECORD_BYTES:
        raise DocumentError(f"it has {info.size_bytes} bytes, the limit is {RECORD_BYTES}")
    return store.get(key, limit_bytes=RECORD_BYTES)


def children(store: ObjectStore, folder: str) -> Iterator[str]:
    """Names right below a folder, which is written without a slash at its end. One look for each, whatever lies in it."""
    prefix = f"{folder}/"
    after = ""
    while True:
        first = next(iter(store.list(prefix, after=after)), None)
        if first is None:
            return
        name, slash, _ = first.key.removeprefix(prefix).partition("/")
        yield name
        # Behind everything below it: the character after the slash.
        after = f"{prefix}{name}0" if slash else first.key
