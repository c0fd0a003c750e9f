"""Makes the deliveries that are due: at least once each, a few at a time, none in the way of another project's.

What came of a try is written down after it. Whoever dies in between leaves the delivery due, and the next leader
makes it again, under the same id.
"""

import logging
import random
import ssl
import threading
import time
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait
from dataclasses import dataclass
from functools import cached_property
from functools import partial
from typing import Any
from typing import Final

from service.context import Context
from service.reports.visible import visible
from service.supervision import keep_doing
from service.webhooks import fleet
from service.webhooks.instruments import Instruments
from service.webhooks.keys import master_key
from service.webhooks.outbox import event_of
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow
from service.webhooks.schedule import retry_after_s
from service.webhooks.schedule import wait_s
from service.webhooks.sending import NotSent
from service.webhooks.sending import Refused
from service.webhooks.sending import Reply
from service.webhooks.sending import Sender
from service.webhooks.signing import MasterKey
from service.webhooks.signing import Secret
from service.webhooks.signing import signed_headers
from service.webhooks.targets import TargetRefused
from service.webhooks.targets import parse_target

logger = logging.getLogger(__name__)
WORKERS: Final = 8
OF_ONE_PROJECT: Final = 4
"""Deliveries at once; one of a receiver that never answers takes ten seconds."""
OF_ONE_WEBHOOK: Final = 2
KEPT_ATTEMPTS: Final = 20
KEPT_S: Final = 30 * 86_400.0
"""Of the log."""
LOOK_EVERY_S: Final = 0.5
MEASURE_EVERY_S: Final = 10.0
FORGET_EVERY_S: Final = 3600.0
UNRECORDED_S: Final = 60.0
"""Before a delivery is made again whose outcome could not be written down."""
USER_AGENT: Final = "Temper-Webhooks/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one try."""

    status: int | None = None
    answer: str | None = None
    """The beginning of it, without anything that moves a cursor."""
    error: str | None = None
    retry_after_s: float | None = None
    refused: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants to hear nothing more."""
        return self.status == 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A delivery that is being made."""

    project: str
    webhook_id: str
    future: Future[None]


class Deliverer:
    """Delivers for all projects. Not thread-safe: one thread calls it.

    Args:
        context: of the process; its database refuses what a former leader writes.
        sender: the real one is made from the settings.
        chance: for the jitter.
    """

    def __init__(
        self, context: Context, *, sender: Sender | None = None, chance: random.Random | None = None
    ) -> None:
        self._context = context
        self._settings = context.settings.webhooks
        self._sender = sender or sender_of(context)
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._instruments = Instruments(context.metrics.registry)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="webhook")
        self._going: dict[str, Going] = {}
        self._held: dict[str, float] = {}
        self._measured_at = self._forgot_at = float("-inf")

    @cached_property
    def _key(self) -> MasterKey:
        return master_key(self._context.settings)

    def step(self, lost: threading.Event | None = None) -> int:
        """Begin what is due and finds a place. Returns how many deliveries that were."""
        self._collect()
        begun = 0
        for webhook, delivery in self._chosen():
            if lost is not None and lost.is_set():
                break
            # Bound here: nothing of a session is read in another thread.
            future = self._pool.submit(self._deliver, webhook, delivery)
            self._going[delivery.id] = Going(project=delivery.project, webhook_id=webhook.id, future=future)
            begun += 1
        self._measure()
        self._forget()
        return begun

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; what was begun by then is finished."""
        keep_doing("delivery of events", partial(self.step, stop), stop, every_s=LOOK_EVERY_S)
        self.settle()

    def settle(self) -> None:
        """Until every delivery that was begun is over."""
        wait([going.future for going in self._going.values()])

    def close(self) -> None:
        """Begin nothing more; wait for what is going on."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._sender.close()

    # ---- choosing ---------------------------------------------------------------------------

    def _collect(self) -> None:
        """Forget what has ended. Raises what a delivery raised."""
        ended = [key for key, going in self._going.items() if going.future.done()]
        failures = []
        for key in ended:
            failure = self._going.pop(key).future.exception()
            if failure is not None:
                self._held[key] = time.monotonic() + UNRECORDED_S
                failures.append(failure)
        self._held = {key: until for key, until in self._held.items() if until > time.monotonic()}
        if failures:
            raise failures[0]

    def _chosen(self) -> list[tuple[WebhookRow, DeliveryRow]]:
        now = self._context.clock.now()
        busy = [(going.project, going.webhook_id) for going in self._going.values()]
        besides = {*self._going, *self._held}
        chosen: list[tuple[WebhookRow, DeliveryRow]] = []
        with self._context.database.reading() as session:
            for project, webhook_id in fleet.waiting(session, now=now):
                places = min(
                    WORKERS - len(busy),
                    OF_ONE_PROJECT - sum(project == other for other, _ in busy),
                    OF_ONE_WEBHOOK - sum(webhook_id == other for _, other in busy),
                )
                if places > 0:
                    found = fleet.due(session, webhook_id, now=now, limit=places, besides=besides)
                    chosen += found
                    busy += [(project, webhook_id)] * len(found)
        return chosen

    # ---- one delivery -----------------------------------------------------------------------

    def _deliver(self, webhook: WebhookRow, delivery: DeliveryRow) -> None:
        started = time.monotonic()
        now = self._context.clock.now()
        outcome = self._try(webhook, delivery, now)
        took_s = time.monotonic() - started
        self._instruments.duration.observe(took_s)
        attempt = {
            "at": now,
            "status": outcome.status,
            "ms": round(took_s * 1000),
            "error": outcome.error,
            "answer": outcome.answer,
        }
        self._record(webhook, delivery, outcome, attempt, now=self._context.clock.now())

    def _try(self, webhook: WebhookRow, delivery: DeliveryRow, now: float) -> Outcome:
        body = event_of(delivery).body(self._settings.public_url)
        headers = signed_headers(self._secrets(webhook, now), delivery.event_id, int(now), body)
        headers |= {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        try:
            # Anew: the operator's list may be another by now.
            target = parse_target(
                webhook.url, self._settings.hosts, loopback_http=self._settings.loopback_http
            )
            reply = self._sender.post(target, body, headers)
        except (TargetRefused, Refused) as error:
            return Outcome(error=f"Not sent: {error}.", refused=True)
        except NotSent as error:
            return Outcome(error=f"Not delivered: {error}.")
        return _outcome_of(reply, now)

    def _secrets(self, webhook: WebhookRow, now: float) -> list[Secret]:
        versions = [webhook.secret_version]
        if webhook.previous_until is not None and now < webhook.previous_until:
            versions.append(webhook.secret_version - 1)
        return [self._key.secret(webhook.id, version) for version in versions]

    def _record(
        self,
        webhook: WebhookRow,
        delivery: DeliveryRow,
        outcome: Outcome,
        attempt: dict[str, Any],
        *,
        now: float,
    ) -> None:
        tries = delivery.tries + 1
        values: dict[str, Any] = {
            "tries": tries,
            "attempts": [*delivery.attempts, attempt][-KEPT_ATTEMPTS:],
            "next_attempt_at": None,
        }
        again_s = wait_s(tries, outcome.retry_after_s, self._chance)
        if outcome.delivered:
            values |= {"status": "delivered", "finished_at": now}
        elif outcome.gone or delivery.test or again_s is None:
            values |= {"status": "failed", "finished_at": now}
        else:
            values |= {"next_attempt_at": now + again_s}
        with self._context.database.writing() as session:
            recorded = fleet.record(session, delivery, **values)
            given_up = recorded and values.get("status") == "failed" and not delivery.test
            if given_up:
                self._give_up(fleet.disable(session, webhook, _why(outcome, tries)), webhook, outcome, tries)
        self._count(outcome, values.get("status"))

    def _give_up(self, disabled: bool, webhook: WebhookRow, outcome: Outcome, tries: int) -> None:
        if disabled:
            self._instruments.disabled.inc()
            logger.warning("webhook %s is disabled: %s", webhook.id, _why(outcome, tries))

    # ---- beside it --------------------------------------------------------------------------

    def _count(self, outcome: Outcome, status: str | None) -> None:
        told = "refused" if outcome.refused else status or "retried"
        self._instruments.deliveries.labels(told).inc()

    def _measure(self) -> None:
        if time.monotonic() - self._measured_at < MEASURE_EVERY_S:
            return
        self._measured_at = time.monotonic()
        now = self._context.clock.now()
        with self._context.database.reading() as session:
            found = fleet.backlog(session, now=now)
        self._instruments.backlog.set(found.count)
        self._instruments.backlog_age.set(0.0 if found.oldest_at is None else now - found.oldest_at)

    def _forget(self) -> None:
        if time.monotonic() - self._forgot_at < FORGET_EVERY_S:
            return
        self._forgot_at = time.monotonic()
        with self._context.database.writing() as session:
            fleet.forget(session, before=self._context.clock.now() - KEPT_S)


def sender_of(context: Context) -> Sender:
    """The sender that the settings describe."""
    settings = context.settings.webhooks
    ca_file = None if settings.ca_file is None else str(settings.ca_file)
    return Sender(networks=settings.networks, tls=ssl.create_default_context(cafile=ca_file))


def _outcome_of(reply: Reply, now: float) -> Outcome:
    return Outcome(
        status=reply.status,
        answer=visible(reply.body.decode("utf-8", errors="replace")),
        retry_after_s=retry_after_s(reply.retry_after, now=now),
    )


def _why(outcome: Outcome, tries: int) -> str:
    if outcome.gone:
        return "Its receiver answered 410 Gone."
    last = outcome.error or f"The receiver answered {outcome.status}."
    return f"An event was not delivered in {tries} tries. {last}"
