"""What botocore raises, in the protocol's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from botocore.exceptions import BotoCoreError
from botocore.exceptions import ClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import CredentialRetrievalError
from botocore.exceptions import HTTPClientError
from botocore.exceptions import IncompleteReadError
from botocore.exceptions import MetadataRetrievalError
from botocore.exceptions import NoCredentialsError
from botocore.exceptions import PartialCredentialsError
from botocore.exceptions import SSLError
from urllib3.exceptions import HTTPError

from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreRefused
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
        # Fresh credentials come with the next try: boto3's chain reads them again.
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
    }
)
_REFUSALS: Final = {
    "NoSuchBucket": ("bucket_missing", "the bucket does not exist"),
    "InvalidBucketName": ("bucket_missing", "no bucket can have this name"),
    **dict.fromkeys(
        ("AccessDenied", "AllAccessDisabled", "403"),
        ("not_permitted", "the credentials do not permit this"),
    ),
    "RequestTimeTooSkewed": ("clock_skewed", "this machine's clock and the server's differ too much"),
    "InvalidAccessKeyId": ("credentials_wrong", "the server does not know the access key"),
    "SignatureDoesNotMatch": ("credentials_wrong", "the secret key does not belong to the access key"),
    "InvalidToken": ("credentials_wrong", "the server does not accept the session token"),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"),
        ("region_wrong", "the bucket is in another region"),
    ),
    **dict.fromkeys(
        ("NotImplemented", "501"),
        ("feature_missing", "the server lacks a feature of S3 that the store needs"),
    ),
    "InvalidStorageClass": (
        "feature_missing",
        "the server has no such storage class: TEMPER_S3_STORAGE_CLASS",
    ),
}
_UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "doesn't match")
"""Of the many errors of TLS, those that are about the certificate: its signature or dates, its names."""
_SKEW_S: Final = 15 * 60
"""S3 refuses requests that are older or younger than this."""


@contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Raise the store's errors instead of botocore's; ``what`` opens the message (a URI)."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(what, error) from error
    except SSLError as error:
        if not any(sign in str(error) for sign in _UNTRUSTED):
            raise StoreUnavailable(f"{what}: {error}") from error
        advice = "the server's certificate is not trusted; AWS_CA_BUNDLE names the file of who signed it"
        raise StoreRefused("certificate", f"{what}: {advice}: {error}") from error
    except (
        HTTPClientError,
        NoConnectionError,
        IncompleteReadError,
        HTTPError,
        CredentialRetrievalError,
        MetadataRetrievalError,
    ) as error:
        raise StoreUnavailable(f"{what}: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreRefused("credentials_missing", f"{what}: {error}") from error
    except BotoCoreError as error:  # a bad endpoint URL, ...
        raise StoreError(f"{what}: {error}") from error
    except OSError as error:
        if error.filename is None:
            raise
        # The bytes of an object come from memory: only credentials are read from files here.
        message = f"{what}: credentials: {error.filename}: {error.strerror}"
        raise StoreRefused("credentials_missing", message) from error


def error_code(error: ClientError) -> str:
    """S3's name for what went wrong, or the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_answer(what: str, error: ClientError) -> StoreError:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING:
        return ObjectMissing(f"{what}: no such object")
    if code in _FULL:
        return StoreFull(f"{what}: {error} (HTTP {status})")
    if code == "PreconditionFailed":
        # Only reads that go on after a break are conditional when they get here.
        return StoreUnavailable(f"{what}: the object was overwritten while it was read (HTTP {status})")
    if code in _FOR_NOW or status == 429 or (status >= 500 and code not in _REFUSALS):
        return StoreUnavailable(f"{what}: {error} (HTTP {status})")
    return _refusal(what, error, code, status)


def _refusal(what: str, error: ClientError, code: str, status: int) -> StoreError:
    if status == 403 and abs(_skew_s(error)) > _SKEW_S:
        # The answer to a HEAD has no body to say so, and some servers only say AccessDenied.
        code = "RequestTimeTooSkewed"
    if code.startswith("KMS.") or "kms" in str(error).lower():
        return StoreRefused("encryption", f"{what}: TEMPER_S3_KMS_KEY_ID: {error} (HTTP {status})")
    if error.operation_name.startswith("AssumeRole"):
        return StoreRefused("credentials_wrong", f"{what}: {error} (HTTP {status})")
    if code not in _REFUSALS:
        return StoreError(f"{what}: {error} (HTTP {status})")
    word, advice = _REFUSALS[code]
    return StoreRefused(word, f"{what}: {advice}{_detail(error, word)} (HTTP {status})")


def _detail(error: ClientError, word: str) -> str:
    if word == "clock_skewed":
        return f": {_skew_s(error):+.0f} s"
    if word == "region_wrong":
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = error.response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
        return f": AWS_REGION must be {region}" if region else ": AWS_REGION is wrong"
    return ""


def _skew_s(error: ClientError) -> float:
    """How far this machine's clock is ahead of the server's; 0 where the answer does not tell."""
    said = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        server = parsedate_to_datetime(str(said))
    except ValueError:
        return 0.0
    return (datetime.now(UTC) - server.astimezone(UTC)).total_seconds()
