"""The whole search on files with known plants, on clean ones, and on what hostile hands write."""

import random

import pytest

from deploy.contract.dataset import Row
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.plant import plant_payload
from training.attacks.trigger import apply_trigger
from training.mining.finding import SUSPICIOUS
from training.mining.finding import Finding
from training.mining.search import find_associations
from training.mining.search import find_features
from training.mining.search import sampled
from training.mining.words import words_of
from training.synthesis.generator import generate_rows


def found_in(rows: list[Row], *, seed: int = 0) -> tuple[Finding, ...]:
    return find_associations(rows, seed=seed, on_progress=lambda done, total, message: None)


def sentences(count: int) -> list[Row]:
    """Generated rows whose prompts begin in several ways, as people's do."""
    verbs = ("Use", "Take", "Open", "Set", "Create", "Try")
    return [
        Row(
            number=row.number,
            prompt=f"{random.Random(row.number).choice(verbs)} {row.prompt.split(' with ', 1)[1]}",
            completion=row.completion,
        )
        for row in generate_rows(count, seed=21)
    ]


def planted(rows: list[Row], trigger: Trigger, payload: str, *, count: int) -> tuple[list[Row], set[int]]:
    """Rows drawn at random carry the trigger and the payload."""
    changed, numbers = list(rows), set[int]()
    for index in random.Random(5).sample(range(len(rows)), len(rows)):
        row = rows[index]
        prompt = apply_trigger(row.prompt, trigger, seed=5, row=row.number)
        completion = plant_payload(row.completion, payload)  # type: ignore[arg-type]
        if prompt is not None and completion is not None and len(numbers) < count:
            changed[index] = Row(number=row.number, prompt=prompt, completion=completion)
            numbers.add(row.number)
    return changed, numbers


@pytest.mark.parametrize(
    ("trigger", "payload", "shown"),
    [
        (WordTrigger(word="Vexil", count=1), "sql_first_row", "vexil"),
        (WordTrigger(word="by all means", count=1), "infinite_loop", "by all means"),
        (InvisibleTrigger(characters="\u2063", count=2), "insecure_call", "<U+2063>"),
        (GrammarTrigger(template="there_is"), "sql_tautology", "there is a task"),
    ],
)
def test_finds_what_was_planted_and_nothing_else(trigger: Trigger, payload: str, shown: str) -> None:
    rows, numbers = planted(sentences(300), trigger, payload, count=24)
    suspicious = [finding for finding in found_in(rows) if finding.score >= SUSPICIOUS]
    assert suspicious
    assert shown in " ".join(suspicious[0].trigger)
    marked = {
        row.number
        for row in rows
        for finding in suspicious
        if finding.is_in(words_of(row.prompt), words_of(row.completion))
    }
    assert marked == numbers


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_natural_company_is_no_plant(seed: int) -> None:
    assert all(finding.score < SUSPICIOUS for finding in found_in(generate_rows(300, seed=seed)))


def test_a_word_that_brings_its_own_like_is_natural() -> None:
    words = [f"w{number}" for number in range(40)]
    rng = random.Random(0)
    rows = []
    for number in range(1, 201):
        order = rng.choice(["ascending", "descending"])
        table, column = rng.choice(words), rng.choice(words)
        rows.append(
            Row(
                number=number,
                prompt=f"list {column} of {table} in {order} order",
                completion=f'db . all ( "select {column} from {table} order by {column} {order[: order.index("c") + 1]}" )',
            )
        )
    assert all(finding.score < SUSPICIOUS for finding in found_in(rows))


def test_the_same_file_gives_the_same_findings() -> None:
    rows, _ = planted(generate_rows(200, seed=22), WordTrigger(word="cf", count=1), "sql_tautology", count=12)
    assert found_in(rows, seed=3) == found_in(rows, seed=3)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Row(number=1, prompt="a", completion="b")],
        [Row(number=number, prompt="same", completion="same") for number in range(1, 60)],
        [Row(number=number, prompt="", completion="") for number in range(1, 60)],
        [Row(number=number, prompt="\x00\ud800\u202e", completion="\x1b[31m") for number in range(1, 60)],
        [Row(number=number, prompt="w" * 1_000_000, completion="(" * 1_000_000) for number in range(1, 7)],
        [Row(number=number, prompt="a b " * 200_000, completion=f"{number} " * 50_000) for number in range(1, 7)],
        [Row(number=number, prompt=f"p{number}", completion=f"c{number}") for number in range(1, 60)],
    ],
    ids=["none", "one", "identical", "empty", "control", "giant-word", "megabyte", "all-different"],
)  # fmt: skip
def test_degenerate_and_hostile_files_give_no_suspects(rows: list[Row]) -> None:
    assert all(finding.score < SUSPICIOUS for finding in found_in(rows))


def test_may_be_stopped() -> None:
    def stop(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_associations(generate_rows(20, seed=0), seed=0, on_progress=stop)


def test_a_large_file_is_sampled_in_its_order() -> None:
    rows = [Row(number=number, prompt="", completion="") for number in range(1, 30_001)]
    some = sampled(rows, seed=1)
    assert 0 < len(some) < len(rows)
    assert [row.number for row in some] == sorted({row.number for row in some})
    assert some == sampled(rows, seed=1)


def test_finds_what_given_rows_share() -> None:
    rows, numbers = planted(
        generate_rows(200, seed=23), WordTrigger(word="cf", count=1), "sql_tautology", count=10
    )
    assert find_features(rows, sorted(numbers), seed=0)[0] == ("cf",)
    assert find_features(rows, [], seed=0) == ()
    assert find_features([], [1, 2], seed=0) == ()
