"""What botocore raises, in the protocol's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError
from botocore.exceptions import ClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import CredentialRetrievalError
from botocore.exceptions import HTTPClientError
from botocore.exceptions import IncompleteReadError
from botocore.exceptions import MetadataRetrievalError
from urllib3.exceptions import HTTPError

from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable

_MISSING: Final = frozenset({"NoSuchKey", "NotFound", "404"})
_FULL: Final = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507"})
_FOR_NOW: Final = frozenset(
    {
        # Throttling, in the spellings of several servers.
        *(
            "SlowDown",
            "SlowDownRead",
            "SlowDownWrite",
            "Throttling",
            "ThrottlingException",
            "RequestLimitExceeded",
        ),
        *("TooManyRequests", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted"),
        "ConditionalRequestConflict",
        # Only reads that go on after a break are conditional when they get here: the object has changed.
        "PreconditionFailed",
        # Fresh credentials come with the next try: boto3's chain reads them again.
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
    }
)
_ADVICE: Final = {
    "PreconditionFailed": "the object was overwritten while it was read",
    "NoSuchBucket": "the bucket does not exist",
    "AccessDenied": "the credentials do not permit this",
    "403": "the credentials do not permit this",
    "RequestTimeTooSkewed": "this machine's clock and the server's differ too much",
    "NotImplemented": "the server lacks a feature of S3 that the store needs",
}


@contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Raise the store's errors instead of botocore's; ``what`` opens the message (a URI)."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(what, error) from error
    except (
        HTTPClientError,
        NoConnectionError,
        IncompleteReadError,
        HTTPError,
        CredentialRetrievalError,
        MetadataRetrievalError,
    ) as error:
        raise StoreUnavailable(f"{what}: {error}") from error
    except BotoCoreError as error:  # no credentials, a bad endpoint URL, ...
        raise StoreError(f"{what}: {error}") from error


def error_code(error: ClientError) -> str:
    """S3's name for what went wrong, or the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_answer(what: str, error: ClientError) -> StoreError:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING:
        return ObjectMissing(f"{what}: no such object")
    message = f"{what}: {_ADVICE.get(code) or error} (HTTP {status})"
    if code in _FULL:
        return StoreFull(message)
    if code in _FOR_NOW or status == 429 or (status >= 500 and code != "NotImplemented"):
        return StoreUnavailable(message)
    return StoreError(message)
