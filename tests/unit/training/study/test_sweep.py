"""Sweeps: which settings belong to one line, and what the tables and pictures make of them."""

from pathlib import Path

import pytest

from deploy.contract.report import Hits
from training.study.chart import draw
from training.study.declaration import Defence
from training.study.declaration import Study
from training.study.group import groups
from training.study.outcome import Outcome
from training.study.sweep import sweep_tables
from training.study.sweep import sweeps
from training.study.table import document

ALPHA, EPSILON, DASH = "\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER EPSILON}", "\N{EN DASH}"


@pytest.fixture
def swept(study: Study) -> Study:
    defences = {
        **study.defences,
        "dece": Defence(strategy="dece"),
        "dece-90": Defence(strategy="dece", alpha_base=0.9),
        "dece-999": Defence(strategy="dece", alpha_base=0.999),
        "dece-e0": Defence(strategy="dece", label_smoothing=0.0),
        "dece-step": Defence(strategy="dece", alpha_base=0.8, schedule="step"),
        "auto": Defence(strategy="dece", calibrated=True),
        "filtered": Defence(strategy="dece_association", alpha_base=0.5),
    }
    return study.model_copy(update={"defences": defences})


def outcome(
    defence: str, *, attack: str = "badpre", hits: int = 0, bleu: float = 50.0, rate: float = 0.05
) -> Outcome:
    return Outcome.model_validate(
        {
            "cell": f"{attack}-{defence}",
            "fingerprint": "f" * 16,
            "model": "decoder",
            "attack": attack,
            "poison_rate": 0.0 if attack == "none" else rate,
            "defence": defence,
            "seed": 1,
            "training": "default",
            "duplicates": 1,
            "asr": Hits(hits=hits, trials=10),
            "hits": "",
            "false_triggers": Hits(hits=0, trials=10),
            "bleu": bleu,
            "bleu_of_task": (bleu,),
            "exact_match": 0,
            "parses": 1,
            "tasks": 1,
            "curve": (),
            "epochs": 1,
            "seconds": 1.0,
        }
    )


RAN = ("dece-999", "dece", "dece-90", "dece-e0", "dece-step", "auto", "filtered")


def test_a_sweep_has_what_differs_in_one_constant_alone_in_its_order(swept: Study) -> None:
    found = groups([outcome(name) for name in RAN])
    (alpha,) = sweeps(swept, found)
    assert alpha.constant == "alpha_base"
    assert [value for value, _ in alpha.points] == [0.9, 0.99, 0.999]
    assert alpha.held == f"{EPSILON} 0.05"


def test_another_rate_or_attack_is_another_sweep(swept: Study) -> None:
    names = ("dece", "dece-90", "dece-999")
    ran = [outcome(name, rate=rate) for name in names for rate in (0.05, 0.2)]
    ran += [outcome(name, attack="none") for name in names]
    assert [each.place.poison_rate for each in sweeps(swept, groups(ran))] == [0.05, 0.2, 0.0]


def test_two_values_are_no_sweep(swept: Study) -> None:
    ran = groups([outcome("dece"), outcome("dece-90"), outcome("dece-e0")])
    assert sweeps(swept, ran) == []
    assert "One constant at a time" not in document(swept, ran, [])


def test_the_table_has_a_line_for_each_value(swept: Study) -> None:
    ran = [outcome("dece-90"), outcome("dece", hits=1), outcome("dece-999", hits=9)]
    ran += [outcome(name, attack="none", bleu=40.0) for name in ("dece-90", "dece", "dece-999")]
    lines = list(sweep_tables(sweeps(swept, groups(ran))))
    assert lines[0] == f"### {ALPHA} (`alpha_base`)"
    strategy = f"dece ({EPSILON} 0.05)"
    assert (
        f"| decoder | BadPre | 5 % | default | {strategy} | 0.999 | 90.0 [59.6, 98.2] | 0.0 [0.0, 27.8] | 50.0 | 1 |"
        in lines
    )
    clean = f"| decoder | clean rows | {DASH} | default | {strategy} | 0.9 | {DASH} | 0.0 [0.0, 27.8] | 40.0 | 1 |"
    assert clean in lines


def test_a_sweep_is_drawn(swept: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ran = [outcome("dece-90"), outcome("dece", hits=1), outcome("dece-999", hits=9)]
    ran += [outcome(name, attack="none", bleu=40.0) for name in ("dece-90", "dece", "dece-999")]
    ran += [outcome(name, rate=0.2, hits=5, bleu=48.0) for name in ("dece-90", "dece", "dece-999")]
    drawn = draw(swept, groups(ran), tmp_path)
    assert "sweep-alpha_base-decoder.png" in drawn
    assert (tmp_path / "sweep-alpha_base-decoder.png").stat().st_size > 5_000
