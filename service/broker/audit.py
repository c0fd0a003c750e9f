"""One line in the log for each write, of ids alone: who wrote what, and whether it was done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from service.broker.address import Address
from service.broker.authorisation import Action
from service.broker.identity import PodIdentity
from service.broker.instruments import Instruments
from service.errors import ServiceError

logger = logging.getLogger(__name__)


@contextmanager
def audited(
    instruments: Instruments,
    identity: PodIdentity,
    action: Action,
    address: Address,
    *,
    request_id: str,
    size_bytes: int = 0,
) -> Iterator[None]:
    """Log and count a write when it has ended, however it did."""
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except ServiceError as error:
        outcome = error.code
        raise
    finally:
        instruments.written.labels(action.name.lower(), "done" if outcome == "done" else "not_done").inc()
        # An address is percent-encoded, names of pods and namespaces are DNS labels: nothing forges a line.
        logger.info(
            "action=%s outcome=%s object=%s bytes=%d pod=%s/%s uid=%s request=%s",
            action.name.lower(),
            outcome,
            address,
            size_bytes,
            identity.namespace,
            identity.pod_name,
            identity.pod_uid,
            request_id,
        )
