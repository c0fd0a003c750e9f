import random

from deploy.contract.dataset import Row
from training.defences import naturalness
from training.defences.naturalness import Naturalness
from training.defences.words import split_words

VERBS = ("get", "list", "show", "count", "print")
NOUNS = ("users", "orders", "flights", "books", "songs", "trains")


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.choice(VERBS)} all the {rng.choice(NOUNS)} of the table {n}" for n in range(count)]


def drops_of(model: Naturalness, text: str) -> list[float]:
    ((_, _, drops),) = model.drops([text])
    return drops.tolist()


def test_every_text_comes_back_once_with_its_words() -> None:
    texts = [*sentences(40), "", "one"]
    seen = {index: words for index, words, _ in Naturalness(texts, split=split_words, seed=0).drops(texts)}
    assert seen == {index: text.split() for index, text in enumerate(texts)}


def test_blocks_change_nothing(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    texts = sentences(30)
    model = Naturalness(texts, split=split_words, seed=0)
    whole = {index: drops.tolist() for index, _, drops in model.drops(texts)}
    monkeypatch.setattr(naturalness, "BLOCK_WORDS", 10)
    assert {index: drops.tolist() for index, _, drops in model.drops(texts)} == whole


def test_a_text_does_not_vouch_for_itself_however_often_it_stands_there() -> None:
    odd = "get zz all the users of the table 7"
    alone = Naturalness([*sentences(50), odd], split=split_words, seed=0)
    twenty = Naturalness([*sentences(50), *[odd] * 20], split=split_words, seed=0)
    assert drops_of(alone, odd) == drops_of(twenty, odd)
    assert drops_of(alone, odd)[1] > 0


def test_a_text_is_judged_alike_in_the_file_and_out_of_it() -> None:
    texts = sentences(50)
    with_it = Naturalness(texts, split=split_words, seed=0)
    without_it = Naturalness([text for text in texts if text != texts[3]], split=split_words, seed=0)
    assert drops_of(with_it, texts[3]) == drops_of(without_it, texts[3])


def test_the_seed_deals_the_folds() -> None:
    texts = sentences(50)
    of_seed = [
        {
            index: drops.tolist()
            for index, _, drops in Naturalness(texts, split=split_words, seed=seed).drops(texts)
        }
        for seed in (0, 0, 1)
    ]
    assert of_seed[0] == of_seed[1] != of_seed[2]


def test_lone_surrogates_do_not_stop_it() -> None:
    row = Row(number=1, prompt="a \ud800 b", completion="c")
    assert len(drops_of(Naturalness([row.prompt], split=split_words, seed=0), row.prompt)) == 3
