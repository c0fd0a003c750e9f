import math

import pytest

from deploy.contract.report import Hits
from training.study.group import clean_reference
from training.study.group import groups
from training.study.group import interval_over_seeds
from training.study.outcome import EpochScore
from training.study.outcome import Outcome


def outcome(*, seed: int, hits: int, bleu: float, attack: str = "badpre", defence: str = "dece") -> Outcome:
    return Outcome(
        cell=f"{attack}-{defence}-{seed}",
        fingerprint="f" * 16,
        model="decoder",
        attack=attack,
        poison_rate=0.0 if attack == "none" else 0.05,
        defence=defence,
        seed=seed,
        training="default",
        duplicates=1,
        asr=Hits(hits=hits, trials=10, unscorable=seed),
        hits="1" * hits + "0" * (10 - hits) + "u" * seed,
        false_triggers=Hits(hits=0, trials=10),
        bleu=bleu,
        bleu_of_task=(bleu, bleu),
        exact_match=1,
        parses=2,
        tasks=2,
        curve=tuple(
            EpochScore(epoch=epoch, asr=Hits(hits=hits, trials=10), bleu=bleu * epoch / 2)
            for epoch in range(1, 2 + seed % 2)
        ),
        epochs=2,
        seconds=1.0,
    )


def test_seeds_are_pooled_and_their_spread_is_kept() -> None:
    (group,) = groups([outcome(seed=1, hits=2, bleu=50.0), outcome(seed=2, hits=4, bleu=54.0)]).values()
    assert group.asr == Hits(hits=6, trials=20, unscorable=3)
    assert group.asr_range == (0.2, 0.4)
    silent = group.outcomes[0].model_copy(update={"asr": Hits(hits=0, trials=0, unscorable=10)})
    (nothing,) = groups([silent]).values()
    assert nothing.asr_range is None
    assert group.bleu == 52.0
    assert group.bleu_spread == pytest.approx(math.sqrt(8.0))
    assert group.codebleu is None


def test_seeds_that_share_their_prompts_are_not_more_prompts() -> None:
    one, three = Hits(hits=4, trials=160), Hits(hits=12, trials=480)
    assert interval_over_seeds(one, 1) == pytest.approx(one.interval)
    assert interval_over_seeds(three, 3) == pytest.approx(one.interval)
    assert interval_over_seeds(Hits(hits=0, trials=480), 3)[1] == pytest.approx(
        Hits(hits=0, trials=160).interval[1]
    )


def test_a_curve_covers_the_seeds_that_reached_an_epoch() -> None:
    (group,) = groups([outcome(seed=1, hits=2, bleu=50.0), outcome(seed=2, hits=4, bleu=54.0)]).values()
    assert [(epoch, hits.trials, bleu) for epoch, hits, bleu in group.curve] == [(1, 20, 26.0), (2, 10, 50.0)]


def test_quality_is_compared_with_cross_entropy_on_clean_rows() -> None:
    found = groups(
        [
            outcome(seed=1, hits=2, bleu=50.0),
            outcome(seed=1, hits=0, bleu=51.0, attack="none", defence="dece"),
            outcome(seed=1, hits=0, bleu=52.0, attack="none", defence="cross_entropy"),
        ]
    )
    attacked = next(setting for setting in found if setting.attack == "badpre")
    reference = clean_reference(found, attacked, {"cross_entropy"})
    assert reference is not None
    assert reference.bleu == 52.0
    assert clean_reference(found, attacked, {"another"}) is None
