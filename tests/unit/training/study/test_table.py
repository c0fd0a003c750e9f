"""The page: what stands where, and that a figure that was not measured is a dash and no number."""

import pytest

from deploy.contract.report import Hits
from training.study.declaration import BaseModel
from training.study.declaration import Defence
from training.study.declaration import Study
from training.study.group import groups
from training.study.outcome import FilterScore
from training.study.outcome import Outcome
from training.study.table import document
from training.study.table import paper_layout


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


def test_the_paper_s_figure_stands_beside_ours(study: Study) -> None:
    page = lines(study, outcome(study, defence="dece", hits=1), outcome(study, defence="none", hits=9))
    assert "| decoder | DeCE | 50.0 / \N{EN DASH} / 10.0 [1.8, 40.4] | 74.3 / 79.0 / 0.0 |" in page
    assert "| decoder | none (CE) | 50.0 / \N{EN DASH} / 90.0 [59.6, 98.2] | 75.0 / 79.8 / 98.2 |" in page
    assert "![curve.png](curve.png)" in page
    # Of the small study's 25; a reader must see that a table is not whole.
    assert any("2 of 25 declared runs, 2.0 hours" in line for line in page)


def test_other_constants_than_the_paper_s_have_no_figure_of_the_paper(study: Study) -> None:
    page = lines(study, outcome(study, defence="dece-95"))
    assert "| decoder | DeCE, alpha .95 | 50.0 / \N{EN DASH} / 0.0 [0.0, 27.8] | \N{EN DASH} |" in page


def test_what_the_paper_did_not_run_has_no_figure_of_the_paper(study: Study) -> None:
    ran = groups([outcome(study, defence="dece")])

    def row_of(**update: object) -> str:
        return next(
            line
            for line in paper_layout(study.model_copy(update=update), ran)
            if line.startswith("| decoder")
        )

    assert "74.3 / 79.0 / 0.0" in row_of()
    calibrated = Defence(strategy="dece", calibrated=True)
    poisoned = BaseModel(poisoned_by="badpre", poison_rate=0.05)
    for update in (
        {"defences": {**study.defences, "dece": calibrated}},
        {"models": {**study.models, "decoder": poisoned}},
        {"data": study.data.model_copy(update={"task": "repair"})},
    ):
        assert row_of(**update).endswith("| \N{EN DASH} |")


def test_rows_that_are_none_of_the_paper_s_have_no_column_of_the_paper(study: Study) -> None:
    own = study.model_copy(update={"data": study.data.model_copy(update={"dataset": None})})
    page = lines(own, outcome(own, defence="dece", hits=1), outcome(own, defence="none", attack="none"))
    assert "| decoder | DeCE | 50.0 / \N{EN DASH} / 10.0 [1.8, 40.4] |" in page
    assert not any("| paper |" in line or "the paper's figures" in line for line in page)


def test_seeds_stand_with_their_range_and_outputs_without_a_verdict_are_marked(study: Study) -> None:
    counts = {"asr": Hits(hits=0, trials=8, unscorable=2), "hits": "00000000uu"}
    silent = outcome(study, defence="dece").model_copy(update=counts)
    page = lines(
        study,
        outcome(study, defence="none", hits=2),
        outcome(study, defence="none", hits=6, seed=2, bleu=54.0),
        silent,
    )
    assert any("40.0 [16.8, 68.7] (20.0\N{EN DASH}60.0) |" in line for line in page)
    assert any("| none (CE) |" in line and "BLEU 52.0 \N{PLUS-MINUS SIGN} 2.8" in line for line in page)
    assert any("0.0 [0.0, 32.4]\N{DAGGER} |" in line for line in page)
    (compared,) = [line for line in page if line.startswith("| decoder | BadPre | 5 % | default | DeCE |")]
    assert "| 0.0 % | 20.0 % |" in compared


def test_settings_of_different_seeds_say_how_many(study: Study) -> None:
    page = lines(
        study,
        outcome(study, defence="dece", poison_rate=0.01),
        outcome(study, defence="dece", poison_rate=0.05),
        outcome(study, defence="dece", poison_rate=0.05, seed=2),
    )
    (by_rate,) = [line for line in page if line.startswith("| decoder | BadPre | default | DeCE |")]
    assert by_rate.endswith("| 1\N{EN DASH}2 |")


def test_clean_rows_show_what_a_defence_costs(study: Study) -> None:
    page = lines(
        study,
        outcome(study, defence="none", attack="none"),
        outcome(study, defence="dece", attack="none", bleu=48.0, bleu_of_task=(38.0, 58.0)),
    )
    (plain,) = [line for line in page if line.startswith("| decoder | default | none (CE)")]
    (dece,) = [line for line in page if line.startswith("| decoder | default | DeCE")]
    # The paper's own CodeGen, trained on clean rows.
    assert " 50.0 | 73.9 | \N{EN DASH} | 50.0 % | 100.0 % |" in plain
    assert " 48.0 | \N{EN DASH} | -2.0 [-2.0, -2.0] |" in dece


def test_filters_are_measured_against_the_manifest(study: Study) -> None:
    scored = FilterScore(removed=12, removed_poisoned=8, poisoned=10, rows=110)
    page = lines(study, outcome(study, defence="dece", filtered=scored))
    assert "| decoder | BadPre | 5 % | DeCE | 8/10 | 4.0 % |" in page
    assert "## What the filters removed" not in lines(study, outcome(study, defence="dece"))


@pytest.mark.parametrize("attack", ["none", "badpre"])
def test_a_page_can_be_made_of_a_single_cell(study: Study, attack: str) -> None:
    assert lines(study, outcome(study, defence="dece", attack=attack))[0] == "# A small study"
