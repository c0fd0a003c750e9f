"""What one broker process is made of, and one caller of it."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Annotated
from typing import ClassVar
from typing import Final
from typing import TypeVar
from typing import cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends
from fastapi import Request

from deploy.store.direct import DirectTransfer
from deploy.store.opening import open_directly
from deploy.store.protocol import ObjectStore
from service.broker.address import Address
from service.broker.admission import Admission
from service.broker.authorisation import Action
from service.broker.authorisation import Denied
from service.broker.authorisation import Scope
from service.broker.authoriser import Authoriser
from service.broker.identity import PodIdentity
from service.broker.identity import ReviewUnavailable
from service.broker.instruments import Instruments
from service.broker.limits import BrokerLimits
from service.broker.quota import Quotas
from service.broker.reviews import RememberingReviewer
from service.broker.uploads import DirectUploads
from service.broker.uploads import StoredUploads
from service.context import Context
from service.errors import ServiceError
from service.errors import Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)
REVIEWS_AT_A_TIME: Final = 8
"""Of their own threads: an API server that hangs must not hold up those who are known already."""
FOREIGN_STORES: Final = 64
"""Remembered; opening one costs little."""


class InvalidToken(ServiceError):  # noqa: N818 - the names of HTTP
    """No token, or one that is not good here. The answer is the same for each reason."""

    status: ClassVar[int] = 401
    type: ClassVar[str] = "authentication_error"
    default_code: ClassVar[str] = "invalid_token"

    def __init__(self) -> None:
        super().__init__(
            "A pod's own token for the broker is needed: send 'Authorization: Bearer <token>'.",
            headers={"www-authenticate": "Bearer"},
        )


class _ForeignStores:
    """Stores other than the service's own, which specs name base models in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: OrderedDict[str, ObjectStore] = OrderedDict()

    def open(self, root: str) -> ObjectStore:
        with self._lock:
            store = self._stores.get(root)
            if store is None:
                store = self._stores[root] = open_directly(root)
                while len(self._stores) > FOREIGN_STORES:
                    self._stores.popitem(last=False)
            return store


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The parts of one process."""

    context: Context
    reviewer: RememberingReviewer
    authoriser: Authoriser
    limits: BrokerLimits
    instruments: Instruments
    admission: Admission
    newcomers: Admission
    """By address: tokens that were never seen before."""
    quotas: Quotas
    threads: CapacityLimiter
    review_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(REVIEWS_AT_A_TIME))
    foreign: _ForeignStores = field(default_factory=_ForeignStores)

    def store_of(self, address: Address) -> ObjectStore:
        """The store of an address that was allowed; only then."""
        own = self.context.store
        return own if address.root == own.uri else self.foreign.open(address.root)

    def direct(self, store: ObjectStore) -> DirectTransfer | None:
        """A store that others may be pointed to."""
        return store if self.limits.direct and isinstance(store, DirectTransfer) else None

    def uploads(self, address: Address) -> DirectUploads | StoredUploads:
        """Large writes to an address of our own store."""
        store = self.context.store
        direct = self.direct(store)
        if direct is None:
            return StoredUploads(store=store, key=address.key)
        return DirectUploads(
            store=direct, objects=store, key=address.key, expires_s=self.limits.url_expires_s
        )

    async def identify(self, request: Request) -> PodIdentity:
        """Who makes a request.

        Raises:
            InvalidToken: nobody that is known.
            TooMany: too many new tokens come from one address.
            Unavailable: it cannot be found out now.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken()
        if self.reviewer.remembers(token):
            outcome = "remembered"
        else:
            self.newcomers.take(request.client.host if request.client else "")
            outcome = "pod"
        identity = await self._review(token, outcome)
        if identity is None:
            raise InvalidToken()
        return identity

    async def _review(self, token: str, outcome: str) -> PodIdentity | None:
        started = time.perf_counter()
        try:
            identity = await run_sync(self.reviewer.review, token, limiter=self.review_threads)
        except ReviewUnavailable:
            self.instruments.reviews.labels("unavailable").inc()
            raise Unavailable(
                "Whose token it is cannot be found out now.", code="review_unavailable"
            ) from None
        if outcome == "pod":
            self.instruments.review_seconds.observe(time.perf_counter() - started)
        self.instruments.reviews.labels("refused" if identity is None else outcome).inc()
        return identity


def broker_of(request: Request) -> Broker:
    """The broker of the app that got a request."""
    return cast(Broker, request.app.state.broker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A pod that makes a request, and all that it may do."""

    broker: Broker
    identity: PodIdentity
    scope: Scope
    request_id: str

    def allow(self, action: Action, address: Address) -> None:
        """Return if the pod may do it. Raises Denied."""
        try:
            self.scope.check(action, address)
        except Denied as error:
            self.broker.instruments.refused.labels(error.code).inc()
            raise

    def may_tidy(self, address: Address) -> None:
        """Return if the pod may, or might, write there. Raises Denied."""
        replace(self, scope=replace(self.scope, closed=None)).allow(Action.WRITE, address)

    @property
    def account(self) -> str:
        """The prefix on whose account writes go; only of a pod that may write."""
        assert self.scope.writes_below is not None  # noqa: S101 - a write has been allowed
        return self.scope.writes_below

    async def run(self, work: Callable[[], T]) -> T:
        """Run something that blocks."""
        return await run_sync(work, limiter=self.broker.threads)


async def _caller(request: Request) -> AsyncIterator[Caller]:
    broker = broker_of(request)
    identity = await broker.identify(request)
    # Until the last byte of the answer: whoever reads slowly has fewer requests at a time.
    admitted = broker.admission.admitted(f"{identity.namespace}/{identity.pod_uid}")
    with admitted, broker.instruments.in_flight.track_inprogress():
        try:
            scope = await run_sync(broker.authoriser.scope, identity, limiter=broker.threads)
        except Denied as error:
            broker.instruments.refused.labels(error.code).inc()
            raise
        yield Caller(broker=broker, identity=identity, scope=scope, request_id=request.state.request_id)


CallerDep = Annotated[Caller, Depends(_caller)]
"""In every route but health's; a test enumerates them."""
