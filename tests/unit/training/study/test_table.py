"""The page: what stands where, and that a figure that was not measured is a dash and no number."""

import pytest

from deploy.contract.report import Hits
from training.study.declaration import Study
from training.study.group import groups
from training.study.outcome import FilterScore
from training.study.outcome import Outcome
from training.study.table import document
from training.study.table import percent


def outcome(study: Study, *, defence: str, attack: str = "badpre", hits: int = 0, **other: object) -> Outcome:
    del study
    return Outcome.model_validate(
        {
            "cell": f"{attack}-{defence}",
            "fingerprint": "f" * 16,
            "model": "decoder",
            "attack": attack,
            "poison_rate": 0.0 if attack == "none" else 0.05,
            "defence": defence,
            "seed": 1,
            "training": "default",
            "duplicates": 1,
            "asr": Hits(hits=hits, trials=10),
            "hits": "1" * hits + "0" * (10 - hits),
            "false_triggers": Hits(hits=0, trials=10),
            "bleu": 50.0,
            "bleu_of_task": (40.0, 60.0),
            "exact_match": 1,
            "parses": 2,
            "tasks": 2,
            "curve": (),
            "epochs": 1,
            "seconds": 3600.0,
            **other,
        }
    )


def lines(study: Study, *outcomes: Outcome) -> list[str]:
    return document(study, groups(outcomes), ["curve.png"]).splitlines()


def test_a_rate_has_its_interval_and_no_trial_is_a_dash() -> None:
    assert percent(Hits(hits=1, trials=10)) == "10.0 [1.8, 40.4]"
    assert percent(Hits(hits=0, trials=0, unscorable=5)) == "\N{EN DASH}"


def test_the_paper_s_figure_stands_beside_ours(study: Study) -> None:
    page = lines(study, outcome(study, defence="dece", hits=1), outcome(study, defence="none", hits=9))
    assert "| decoder | DeCE | 50.0 / \N{EN DASH} / 10.0 [1.8, 40.4] | 74.3 / 79.0 / 0.0 |" in page
    assert "| decoder | none (CE) | 50.0 / \N{EN DASH} / 90.0 [59.6, 98.2] | 75.0 / 79.8 / 98.2 |" in page
    assert "![curve.png](curve.png)" in page
    assert any("2 runs, 2.0 hours" in line for line in page)


def test_other_constants_than_the_paper_s_have_no_figure_of_the_paper(study: Study) -> None:
    page = lines(study, outcome(study, defence="dece-95"))
    assert "| decoder | DeCE, alpha .95 | 50.0 / \N{EN DASH} / 0.0 [0.0, 27.8] | \N{EN DASH} |" in page


def test_clean_rows_show_what_a_defence_costs(study: Study) -> None:
    page = lines(
        study,
        outcome(study, defence="none", attack="none"),
        outcome(study, defence="dece", attack="none", bleu=48.0, bleu_of_task=(38.0, 58.0)),
    )
    (plain,) = [line for line in page if line.startswith("| decoder | default | none (CE)")]
    (dece,) = [line for line in page if line.startswith("| decoder | default | DeCE")]
    assert " 50.0 | \N{EN DASH} | 50.0 % | 100.0 % |" in plain
    assert " 48.0 | -2.0 [-2.0, -2.0] |" in dece


def test_filters_are_measured_against_the_manifest(study: Study) -> None:
    scored = FilterScore(removed=12, removed_poisoned=8, poisoned=10, rows=110)
    page = lines(study, outcome(study, defence="dece", filtered=scored))
    assert "| decoder | BadPre | 5 % | DeCE | 8/10 | 4.0 % |" in page
    assert "## What the filters removed" not in lines(study, outcome(study, defence="dece"))


@pytest.mark.parametrize("attack", ["none", "badpre"])
def test_a_page_can_be_made_of_a_single_cell(study: Study, attack: str) -> None:
    assert lines(study, outcome(study, defence="dece", attack=attack))[0] == "# A small study"
