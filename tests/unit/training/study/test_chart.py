"""Pictures, by what is drawn: lines are read from the figure before it is closed."""

import math
from pathlib import Path
from typing import Any

import pytest

from deploy.contract.report import Hits
from training.study import chart
from training.study.declaration import Defence
from training.study.declaration import Study
from training.study.group import Group
from training.study.group import groups
from training.study.outcome import EpochScore
from training.study.outcome import Outcome

pytest.importorskip("matplotlib")


def outcome(*, defence: str, hits: int, trials: int = 10, **other: object) -> Outcome:
    counts = Hits(hits=hits, trials=trials, unscorable=10 - trials)
    return Outcome.model_validate(
        {
            "cell": f"{defence}-{hits}",
            "fingerprint": "f" * 16,
            "model": "decoder",
            "attack": "badpre",
            "poison_rate": 0.05,
            "defence": defence,
            "seed": 1,
            "training": "default",
            "duplicates": 1,
            "asr": counts,
            "hits": "",
            "false_triggers": Hits(hits=0, trials=10),
            "bleu": 50.0,
            "bleu_of_task": (50.0,),
            "exact_match": 0,
            "parses": 1,
            "tasks": 1,
            "curve": (EpochScore(epoch=1, asr=counts, bleu=50.0),),
            "epochs": 1,
            "seconds": 1.0,
            **other,
        }
    )


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    drawn: list[Any] = []

    def keep(figure: Any, path: Path) -> None:
        from matplotlib import pyplot

        drawn.append(figure)
        pyplot.close(figure)

    monkeypatch.setattr(chart, "_save", keep)
    return drawn


def found(*outcomes: Outcome) -> list[Group]:
    return list(groups(outcomes).values())


def test_an_adaptive_attack_is_not_drawn_as_the_plain_one(
    study: Study, figures: list[Any], tmp_path: Path
) -> None:
    repeated = outcome(defence="dece", hits=9, duplicates=4)
    longer = outcome(defence="dece", hits=8, training="long")
    some = found(outcome(defence="dece", hits=0), repeated, longer)
    for picture in (chart.early_learning, chart.poison_rates):
        assert picture(study, some, "decoder", tmp_path / "x.png")
        axis = figures[-1].axes[0]
        assert [list(line.get_ydata()) for line in axis.lines if line.get_label() == "DeCE"] in ([[0.0]], [])
        assert not any(80.0 in line.get_ydata() or 90.0 in line.get_ydata() for line in axis.lines)
    assert not chart.early_learning(study, found(repeated), "decoder", tmp_path / "x.png")


def test_what_has_no_verdict_is_not_drawn_as_no_success(
    study: Study, figures: list[Any], tmp_path: Path
) -> None:
    some = found(outcome(defence="dece", hits=0, trials=0))
    for picture in (chart.early_learning, chart.poison_rates):
        assert picture(study, some, "decoder", tmp_path / "x.png")
        assert all(math.isnan(figures[-1].axes[0].lines[0].get_ydata()[at]) for at in (0,))


def test_lines_at_the_same_height_stand_beside_one_another(
    study: Study, figures: list[Any], tmp_path: Path
) -> None:
    some = found(outcome(defence="none", hits=0), outcome(defence="dece", hits=0))
    assert chart.poison_rates(study, some, "decoder", tmp_path / "x.png")
    places = {
        round(float(line.get_xdata()[0]), 3)
        for line in figures[-1].axes[0].lines
        if line.get_marker() in "os"
    }
    assert len(places) == 2
    assert all(4.5 < place < 5.5 for place in places)


@pytest.mark.parametrize("attacks", [1, 2, 7])
def test_a_picture_holds_its_legend_and_is_not_too_wide(
    study: Study, figures: list[Any], tmp_path: Path, attacks: int
) -> None:
    defences = {f"d{n}": Defence(strategy="dece", label=f"DeCE w. Spectral signatures {n}") for n in range(6)}
    wide = study.model_copy(update={"defences": defences})
    names = ("badpre", "ripple", "grammar", "invisible", "comment", "first_row", "dead_code")[:attacks]
    some = found(*[outcome(defence=d, hits=1, attack=name) for name in names for d in defences])
    for picture in (chart.early_learning, chart.poison_rates):
        assert picture(wide, some, "decoder", tmp_path / "x.png")
        figure = figures[-1]
        figure.canvas.draw()
        (legend,) = figure.legends
        box, page = legend.get_window_extent(), figure.bbox
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert figure.get_size_inches()[0] <= 14
        titles = [axis.get_title() for axis in figure.axes if axis.get_visible() and axis.get_title()]
        assert len(titles) == attacks


def test_many_defences_look_different(study: Study) -> None:
    many = study.model_copy(
        update={"defences": {f"d{n}": Defence(strategy="dece", label=str(n)) for n in range(40)}}
    )
    looks = [chart._look(many, f"d{n}") for n in range(40)]
    assert len({tuple(value for name, value in look.items() if name != "label") for look in looks}) == 40
