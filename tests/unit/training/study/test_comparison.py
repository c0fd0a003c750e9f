import pytest

from deploy.contract.report import Hits
from training.study.comparison import bleu_difference
from training.study.comparison import poisoned_reference
from training.study.comparison import success_difference
from training.study.group import Group
from training.study.group import groups
from training.study.markdown import DASH
from training.study.outcome import Outcome


def outcome(*, defence: str, hits: str, seed: int = 1, attack: str = "badpre", bleu: float = 50.0) -> Outcome:
    return Outcome(
        cell=f"{attack}-{defence}-{seed}",
        fingerprint="f" * 16,
        model="decoder",
        attack=attack,
        poison_rate=0.05,
        defence=defence,
        seed=seed,
        training="default",
        duplicates=1,
        asr=Hits(hits=hits.count("1"), trials=len(hits) - hits.count("u"), unscorable=hits.count("u")),
        hits=hits,
        false_triggers=Hits(hits=0, trials=10),
        bleu=bleu,
        bleu_of_task=(bleu - 5, bleu + 5),
        exact_match=0,
        parses=2,
        tasks=2,
        curve=(),
        epochs=1,
        seconds=1.0,
    )


def group(*outcomes: Outcome) -> Group:
    (only,) = groups(outcomes).values()
    return only


def test_attack_success_is_paired_task_by_task_and_no_verdict_is_a_miss() -> None:
    plain = group(outcome(defence="none", hits="1111u00000"))
    dece = group(outcome(defence="dece", hits="1000uu0000"))
    assert success_difference(dece, plain) == "-30.0 [-66.5, +6.5]"


def test_no_interval_says_more_than_everything() -> None:
    plain = group(
        outcome(defence="none", hits="1111111111"), outcome(defence="none", hits="0000000001", seed=2)
    )
    dece = group(
        outcome(defence="dece", hits="0000000000"), outcome(defence="dece", hits="0000000000", seed=2)
    )
    assert success_difference(dece, plain) == "-55.0 [-100.0, +100.0]"


def test_only_seeds_that_both_have_are_paired() -> None:
    plain = group(
        outcome(defence="none", hits="1100", bleu=60.0),
        outcome(defence="none", hits="1111", seed=3, bleu=10.0),
    )
    dece = group(
        outcome(defence="dece", hits="0000", bleu=58.0),
        outcome(defence="dece", hits="0000", seed=2, bleu=90.0),
    )
    assert bleu_difference(dece, plain) == "-2.0 [-2.0, -2.0]"
    assert success_difference(dece, plain).startswith("-50.0 [")
    other = group(outcome(defence="gce", hits="0000", seed=7))
    assert success_difference(other, plain) == DASH


def test_equal_outcomes_claim_no_interval() -> None:
    plain = group(outcome(defence="none", hits="0000"))
    dece = group(outcome(defence="dece", hits="00u0"))
    assert success_difference(dece, plain) == "0.0, no task differs"


@pytest.mark.parametrize("hits", ["00000", "0", ""])
def test_other_tasks_cannot_be_paired(hits: str) -> None:
    plain = group(outcome(defence="none", hits="1100"))
    assert success_difference(group(outcome(defence="dece", hits=hits)), plain) == DASH


def test_attack_success_is_compared_on_the_same_poisoned_rows() -> None:
    found = groups(
        [
            outcome(defence="dece", hits="00"),
            outcome(defence="none", hits="11"),
            outcome(defence="none", hits="10", attack="ripple"),
        ]
    )
    attacked = next(setting for setting in found if setting.defence == "dece")
    reference = poisoned_reference(found, attacked, {"none"})
    assert reference is not None
    assert reference.setting.attack == "badpre"
    assert poisoned_reference(found, attacked, {"other"}) is None
