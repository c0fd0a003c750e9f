"""The routes of webhooks."""

import asyncio
import time
from typing import Annotated
from typing import Final

from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi import Query

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import Context
from service.context import ContextDep
from service.context import Reading
from service.context import Writing
from service.errors import BadRequest
from service.paging import Page
from service.paging import page_of
from service.webhooks import service
from service.webhooks.events import EVENT_TYPES
from service.webhooks.keys import master_key
from service.webhooks.repository import WebhookRepository
from service.webhooks.rows import WebhookRow
from service.webhooks.schemas import CreateWebhook
from service.webhooks.schemas import DeliveryView
from service.webhooks.schemas import EventTypeList
from service.webhooks.schemas import RotateSecret
from service.webhooks.schemas import TestWebhook
from service.webhooks.schemas import UpdateWebhook
from service.webhooks.schemas import WebhookDeleted
from service.webhooks.schemas import WebhookTested
from service.webhooks.schemas import WebhookView
from service.webhooks.schemas import WebhookWithSecret
from service.webhooks.schemas import members_of
from service.webhooks.schemas import view_delivery

router = APIRouter(tags=["webhooks"], dependencies=[requires("webhooks")])
ROOT: Final = "/webhook_endpoints"
ONE: Final = ROOT + "/{webhook_id}"
Limit = Annotated[int, Query(ge=1, le=100)]
TEST_WAIT_S: Final = 15.0
"""A try takes ten at most, and begins within one."""
TEST_LOOK_S: Final = 0.2


@router.post(ROOT)
def create(
    body: Annotated[CreateWebhook, json_body(CreateWebhook)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
    once: Once,
) -> WebhookWithSecret:
    """Have events told to a URL; the answer is the only one with the secret that signs them."""
    once.begin(session, body)
    settings, now = context.settings.webhooks, context.clock.now()
    row = service.create_webhook(session, caller.project, body, settings, now=now)
    return once.done(session, _with_secret(context, row), hide=("signing_secret",))


@router.get(ROOT)
def list_webhooks(
    session: Reading, context: ContextDep, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[WebhookView]:
    """Webhooks, the newest first."""
    webhooks = WebhookRepository(session, caller.project)
    cursor = None if after is None else webhooks.get(after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no webhook endpoint {after!r} to continue after.", param="after")
    rows = webhooks.page(after=cursor, limit=limit + 1)
    return page_of([_view(context, row) for row in rows], limit=limit)


@router.get("/webhook_event_types")
def list_event_types() -> EventTypeList:
    """Every type of event."""
    return EventTypeList(data=list(EVENT_TYPES))


@router.get(ONE)
def retrieve(webhook_id: str, session: Reading, context: ContextDep, caller: Caller) -> WebhookView:
    """One webhook."""
    return _view(context, service.require(session, caller.project, webhook_id))


@router.post(ONE)
def update(
    webhook_id: str,
    body: Annotated[UpdateWebhook, json_body(UpdateWebhook)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
) -> WebhookView:
    """Change a webhook, or enable one that was given up."""
    settings, now = context.settings.webhooks, context.clock.now()
    row = service.update_webhook(session, caller.project, webhook_id, body, settings, now=now)
    return _view(context, row)


@router.delete(ONE)
def remove(webhook_id: str, session: Writing, caller: Caller) -> WebhookDeleted:
    """Remove a webhook with its log."""
    service.remove_webhook(session, caller.project, webhook_id)
    return WebhookDeleted(id=webhook_id)


@router.post(f"{ONE}/rotate_secret")
def rotate_secret(
    webhook_id: str,
    body: Annotated[RotateSecret, json_body(RotateSecret)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
) -> WebhookWithSecret:
    """Replace the secret."""
    keep_old, now = body.keep_old_secret_active_for_24_hours, context.clock.now()
    row = service.rotate_secret(session, caller.project, webhook_id, keep_old=keep_old, now=now)
    return _with_secret(context, row)


@router.post(f"{ONE}/test")
async def test(
    webhook_id: str,
    body: Annotated[TestWebhook, json_body(TestWebhook)],
    context: ContextDep,
    caller: Caller,
) -> WebhookTested:
    """Send a sample, and wait for what the receiver answers."""

    # The process that delivers is the only one that may reach out.
    def begin() -> str:
        with context.database.writing() as session:
            now = context.clock.now()
            return service.begin_test(session, caller.project, webhook_id, body.event_type, now=now)

    def look() -> int | None:
        with context.database.reading() as session:
            return service.status_of_test(session, caller.project, webhook_id, delivery_id)

    delivery_id = await run_sync(begin)
    until = time.monotonic() + TEST_WAIT_S
    while (status := await run_sync(look)) is None:
        if time.monotonic() >= until:
            raise service.not_tested(delivery_id)
        await asyncio.sleep(TEST_LOOK_S)
    return WebhookTested(webhook_endpoint_id=webhook_id, event_type=body.event_type, status_code=status)


@router.get(f"{ONE}/deliveries")
def deliveries(
    webhook_id: str, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[DeliveryView]:
    """What a webhook was told and what it answered, the newest first; kept for thirty days."""
    service.require(session, caller.project, webhook_id)
    webhooks = WebhookRepository(session, caller.project)
    cursor = None if after is None else webhooks.delivery(webhook_id, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no delivery {after!r} to continue after.", param="after")
    rows = webhooks.deliveries(webhook_id, after=cursor, limit=limit + 1)
    return page_of([view_delivery(row) for row in rows], limit=limit)


@router.post(f"{ONE}/deliveries/{{delivery_id}}/redeliver")
def redeliver(
    webhook_id: str, delivery_id: str, session: Writing, context: ContextDep, caller: Caller
) -> DeliveryView:
    """Deliver an event again."""
    now = context.clock.now()
    return view_delivery(service.redeliver(session, caller.project, webhook_id, delivery_id, now=now))


def _view(context: Context, row: WebhookRow) -> WebhookView:
    secret = master_key(context.settings).secret(row.id, row.secret_version)
    return WebhookView(**members_of(row, secret.hint))


def _with_secret(context: Context, row: WebhookRow) -> WebhookWithSecret:
    secret = master_key(context.settings).secret(row.id, row.secret_version)
    return WebhookWithSecret(**members_of(row, secret.hint), signing_secret=secret.text)
