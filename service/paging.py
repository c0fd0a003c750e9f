"""OpenAI's list envelope: ``after`` is the last id of the page before, ``has_more`` says whether to go on."""

from collections.abc import Sequence
from typing import Any
from typing import Generic
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy import and_
from sqlalchemy import or_

Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    object: str = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


def page_of(items: Sequence[Item], *, limit: int) -> Page[Item]:
    """The envelope of a page, made of up to ``limit + 1`` items: the extra one tells that there are more."""
    data = list(items[:limit])
    return Page(
        data=data,
        has_more=len(items) > limit,
        first_id=getattr(data[0], "id") if data else None,  # noqa: B009 - every item of ours has one
        last_id=getattr(data[-1], "id") if data else None,  # noqa: B009
    )


def newest_first(query: Select[Row], table: Any, *, after: Row | None) -> Select[Row]:
    """Rows that have ``created_at`` and ``id``, the newest first; those that come after one of them."""
    if after is not None:
        cursor: Any = after
        same = and_(table.created_at == cursor.created_at, table.id < cursor.id)
        query = query.where(or_(table.created_at < cursor.created_at, same))
    return query.order_by(table.created_at.desc(), table.id.desc())
