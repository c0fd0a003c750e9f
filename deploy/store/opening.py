"""From a URI to a store. The only place that knows which schemes there are, and which way leads to a store.

Where TEMPER_BROKER_URL is set, in the pods of jobs and endpoints, every store is reached through the broker: a pod
has no credentials, and a directory that a URI names is the broker's, not one in the pod.
"""

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote
from urllib.parse import unquote

from deploy.store.broker_connection import BrokerSettings
from deploy.store.brokered import BrokeredStore
from deploy.store.directory import DirStore
from deploy.store.key import key_parts
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class InvalidUri(StoreError):  # noqa: N818 - named as InvalidKey is
    """The URI is neither ``file:///absolute/path`` nor ``s3://bucket/prefix``."""


def open_store(uri: str) -> ObjectStore:
    """The store whose root is the directory or prefix ``uri``; a trailing slash means nothing.

    Nothing is contacted, made or checked yet: the first call on the store does that.

    Raises:
        InvalidUri: another scheme, a relative path, or a bucket name that cannot be one.
        StoreError: the variables that lead to a broker cannot be used.
    """
    broker = BrokerSettings.from_environment()
    return open_directly(uri) if broker is None else BrokeredStore(canonical(uri), broker)


def open_directly(uri: str) -> ObjectStore:
    """As :func:`open_store`, but never through a broker: what the broker itself does.

    Raises:
        InvalidUri: likewise.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        return DirStore(_local_path(uri, rest))
    bucket, prefix = _bucket_and_prefix(uri, rest)
    from deploy.store.s3 import S3Store  # boto3 takes a third of a second to import

    return S3Store(bucket, prefix)


def canonical(uri: str) -> str:
    """The same URI without a trailing slash, the one by which a store is known to others.

    Raises:
        InvalidUri: likewise.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        return "file://" + _local_path(uri, rest).as_uri().removeprefix("file://").rstrip("/")
    bucket, prefix = _bucket_and_prefix(uri, rest)
    return f"s3://{bucket}/{prefix}".rstrip("/")


def locate(uri: str) -> tuple[ObjectStore, str]:
    """The store whose root is right above the object ``uri``, and the object's key in it.

    Raises:
        InvalidUri: as :func:`open_store`, or ``uri`` names no object (it ends with a slash, or a bucket).
        InvalidKey: the last part of ``uri`` cannot be a key.
    """
    above, _, name = uri.rpartition("/")
    if not name or (above.endswith("/") and above != "file://"):
        raise InvalidUri(f"{uri!r}: names no object")
    store = open_store(above + "/")
    key = _unescaped(uri, name) if uri.startswith("file:") else name
    key_parts(key)
    return store, key


def object_uri(store: ObjectStore, key: str) -> str:
    """The URI from which :func:`locate` finds ``key`` of ``store`` again."""
    return f"{store.uri}/{quote(key) if store.uri.startswith('file:') else key}"


def local_directory(uri: str) -> Path:
    """The directory that a ``file://`` URI names. Raises InvalidUri."""
    return _local_path(uri, _split(uri)[1])


def _local_path(uri: str, rest: str) -> Path:
    host, slash, path = rest.partition("/")
    path = slash + _unescaped(uri, path)
    if host not in {"", "localhost"} or not slash or "\0" in path:
        raise InvalidUri(f"{uri!r}: a directory is file:///absolute/path")
    return Path(path)


def _unescaped(uri: str, path: str) -> str:
    if "?" in path or "#" in path:
        raise InvalidUri(f"{uri!r}: ? and # in a path are written %3F and %23")
    return unquote(path, errors="surrogateescape")  # whatever the bytes of a file's name


def _split(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    if scheme not in {"file", "s3"}:
        raise InvalidUri(f"{uri!r}: neither file:///absolute/path nor s3://bucket/prefix")
    return scheme, rest


def _bucket_and_prefix(uri: str, rest: str) -> tuple[str, str]:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidUri(f"{uri!r}: {bucket!r} cannot be the name of a bucket")
    try:
        if prefix:
            prefix = "/".join(key_parts(prefix.removesuffix("/")))
    except InvalidKey as error:
        raise InvalidUri(f"{uri!r}: {error}") from error
    return bucket, prefix
