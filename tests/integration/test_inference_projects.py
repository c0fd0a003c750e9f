"""Budgets and owners of completions: several applications on one real PostgreSQL, one server behind them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy
from model_server import USAGE
from served_model import ServedModel
from served_model import add_ready_endpoint
from waiting import until

from service.tables import EndpointRow
from service.tables import ProjectRow

PROMPT: Final = "hold"
RESERVED: Final = len(PROMPT) + 8 + 13
SPENT: Final = USAGE["total_tokens"]
LIMIT: Final = 10 * RESERVED + 5


@pytest.fixture
def pair(
    make_served_model: Callable[..., ServedModel], postgres_url: str, tmp_path: Path
) -> tuple[ServedModel, ServedModel]:
    """Two applications on one database."""
    shared = {"TEMPER_DATABASE_URL": postgres_url, "TEMPER_LIMIT_TOKENS_PER_DAY": str(LIMIT)}
    one, two = (make_served_model(TEMPER_HOME=str(tmp_path / f"home{each}"), **shared) for each in range(2))
    return one, two


def day(model: ServedModel) -> int:
    """By the database's clock; a new one begins with a whole budget."""
    return int(model.context.database.now() // 86_400)


def test_j6_fifty_at_once_on_two_applications_never_spend_more_than_there_is(
    pair: tuple[ServedModel, ServedModel],
) -> None:
    one, _ = pair
    began_on = day(one)
    upstream = one.upstream
    with ThreadPoolExecutor(50) as threads:
        asking = [threads.submit(pair[each % 2].ask, PROMPT, max_tokens=13) for each in range(50)]
        try:
            # All that were let through are held by the server: what they may come to is not over the limit.
            until(lambda: len(upstream.asked) + sum(each.done() for each in asking) == 50, seconds=30)
            admitted = len(upstream.asked)
        finally:
            upstream.released.set()
        answers = [each.result() for each in asking]
    if day(one) != began_on:
        pytest.skip("a day began meanwhile, and with it another budget")
    assert 1 <= admitted <= LIMIT // RESERVED
    assert [each.status_code for each in answers].count(200) == admitted
    for refused in (each for each in answers if each.status_code != 200):
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "tokens_per_day_exceeded"
    check_the_rest(pair, spent=admitted * SPENT)


def check_the_rest(pair: tuple[ServedModel, ServedModel], *, spent: int) -> None:
    """What was reserved and not spent can be spent, to the last request and no further."""
    refusals = 0
    while refusals < 4:
        for model in pair:
            if model.ask(PROMPT, max_tokens=13).status_code == 200:
                spent += SPENT
            else:
                refusals += 1
        assert spent <= LIMIT + SPENT
    assert spent > LIMIT // 2


def test_j6_a_project_that_has_spent_all_stops_nobody_else(pair: tuple[ServedModel, ServedModel]) -> None:
    one, _ = pair
    add_project(one, "proj-other")
    add_ready_endpoint(one.context, one.upstream.url, model="tiny", project="proj-other", id="ep-other")
    one.upstream.released.set()
    too_much = one.ask(PROMPT, max_tokens=LIMIT)
    assert too_much.status_code == 429
    assert too_much.headers["x-should-retry"] == "false"
    while one.ask(PROMPT, max_tokens=13).status_code == 200:
        pass
    assert one.ask(PROMPT, max_tokens=13, project="proj-other").status_code == 200


def add_project(model: ServedModel, project: str) -> None:
    with model.context.database.writing() as session:
        session.add(ProjectRow(id=project, name=project, created_at=1))


# ---- J8 -------------------------------------------------------------------------------------------


def test_j8_another_projects_model_answers_like_a_missing_one(served_model: ServedModel) -> None:
    add_project(served_model, "proj-other")
    foreign = served_model.ask("fine", project="proj-other")
    missing = served_model.ask("fine", model="tony", project="proj-other")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["error"]["code"] == "model_not_found"
    changing = ("instance",)
    one, other = ({k: v for k, v in each.json().items() if k not in changing} for each in (foreign, missing))
    assert str(one) == str(other).replace("tony", "tiny")
    assert set(foreign.headers) == set(missing.headers)
    assert served_model.upstream.asked == []


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        ("queued", 503, "model_starting"),
        ("starting", 503, "model_starting"),
        ("asleep", 503, "model_asleep"),
        ("stopped", 410, "model_not_deployed"),
        ("failed", 410, "model_not_deployed"),
    ],
)
def test_j8_a_model_whose_server_is_not_there_says_whether_it_will_be(
    served_model: ServedModel, status: str, answered: int, code: str
) -> None:
    ended = {"active_model_id": None} if answered == 410 else {}
    with served_model.context.database.writing() as session:
        session.execute(sqlalchemy.update(EndpointRow).values(status=status, url=None, **ended))
    answer = served_model.ask("fine")
    assert (answer.status_code, answer.json()["error"]["code"]) == (answered, code)
    assert answer.headers.get("retry-after") == ("30" if answered == 503 else None)
    assert served_model.upstream.asked == []


def test_j8_two_projects_have_servers_of_their_own_for_models_of_one_name(served_model: ServedModel) -> None:
    add_project(served_model, "proj-other")
    add_ready_endpoint(served_model.context, "http://127.0.0.1:1", project="proj-other", id="ep-other")
    assert served_model.ask("fine").status_code == 200
    assert served_model.ask("fine", project="proj-other").status_code == 502
    assert len(served_model.upstream.asked) == 1
