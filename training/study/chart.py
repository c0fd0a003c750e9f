"""A study's pictures: early-learning curves, attack success against the poison rate, and sweeps of a loss's constants."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

from deploy.contract.report import Hits
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.group import Group
from training.study.group import Setting
from training.study.group import interval_over_seeds
from training.study.label import attack_label
from training.study.label import defence_label
from training.study.sweep import CONSTANTS
from training.study.sweep import Sweep
from training.study.sweep import sweeps

COLOURS = ("#c23b22", "#e08a1e", "#7a5195", "#3d7ab8", "#1b7f5c", "#8a8a8a", "#b0507f", "#4f6d2f")
"""By defence in the order of the declaration; told apart by line style and marker as well."""
STYLES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "P", "X", "v", "*", "<", ">", "p", "h", "d")
"""As many as have no divisor in common with the colours: 104 defences look different."""
STEP_ASIDE = 0.025
"""Of a decade of the poison rate: lines that lie on one another, at 0 above all, are drawn beside one another."""


WIDEST = 3
"""Attacks side by side; more go into rows below, or a page would show them too small to be read."""
LETTER = 0.075
LINE_SAMPLE = 0.6
"""Inches that a letter takes in the legend, and what stands before and behind a name."""


def _figure(attacks: int, rows: int, *, sharey: Literal["row", "none"] = "row") -> tuple[Any, Any]:
    """A figure and its axes, ``rows`` of them below one another for each attack."""
    import matplotlib

    columns, rows = min(attacks, WIDEST), rows * math.ceil(attacks / WIDEST)

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # One scale a row: pictures side by side are there to be compared.
    return pyplot.subplots(
        rows,
        columns,
        figsize=(4.6 * columns, 3.1 * rows),
        squeeze=False,
        sharey=sharey,
        layout="constrained",
    )


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    # No date and no version inside: the same results give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _style(at: int) -> dict[str, Any]:
    """Of the ``at``-th line, counted from 0."""
    return {
        "color": COLOURS[at % len(COLOURS)],
        "linestyle": STYLES[at % len(STYLES)],
        "marker": MARKERS[at % len(MARKERS)],
        "markersize": 4,
    }


def _look(study: Study, defence: str) -> dict[str, Any]:
    return {**_style(list(study.defences).index(defence)), "label": defence_label(study, defence)}


def _legend(figure: Any, axes: Any) -> None:
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        shown.update(zip(labels, handles, strict=True))
        # The places that the last row leaves over.
        axis.set_visible(bool(labels))
    longest = max((len(label) for label in shown), default=0)
    fitting = int(figure.get_figwidth() / (LETTER * longest + LINE_SAMPLE))
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncols=max(1, min(fitting, len(shown))),
        frameon=False,
    )


def _plain(found: Sequence[Group], model: str) -> list[Group]:
    """The attacked settings of a model as the paper has them: its own recipe, every poisoned row once."""
    return [
        group
        for group in found
        if (group.setting.model, group.setting.training, group.setting.duplicates) == (model, "default", 1)
        and group.setting.attack != NO_ATTACK
    ]


def _percent(hits: Hits) -> float:
    """The rate; where there was no trial, not a number, which is not drawn."""
    return math.nan if hits.rate is None else 100 * hits.rate


def early_learning(study: Study, found: Sequence[Group], model: str, path: Path) -> bool:
    """Attack success and BLEU after every epoch, at 5 % poison or else the highest rate. False where nothing was drawn."""
    mine = [group for group in _plain(found, model) if group.curve]
    attacks = list(dict.fromkeys(group.setting.attack for group in mine))
    if not attacks:
        return False
    figure, axes = _figure(len(attacks), 2)
    for at, attack in enumerate(attacks):
        column = at % WIDEST
        above, below = axes[2 * (at // WIDEST)][column], axes[2 * (at // WIDEST) + 1][column]
        # 5 % where it was run: the rate of the paper's own curves.
        rates = sorted({g.setting.poison_rate for g in mine if g.setting.attack == attack})
        rate = 0.05 if 0.05 in rates else rates[-1]
        for group in mine:
            if (group.setting.attack, group.setting.poison_rate) != (attack, rate):
                continue
            epochs = [epoch for epoch, _, _ in group.curve]
            look = _look(study, group.setting.defence)
            above.plot(epochs, [_percent(hits) for _, hits, _ in group.curve], **look)
            below.plot(epochs, [bleu for _, _, bleu in group.curve], **look)
        above.set_title(f"{attack_label(attack)}, {100 * rate:g} % poison ({model})", fontsize=10)
        above.set_ylim(-3, 103)
        below.set_xlabel("epoch")
        if column == 0:
            above.set_ylabel("attack success, %")
            below.set_ylabel("BLEU, clean prompts")
    _legend(figure, axes)
    _save(figure, path)
    return True


def poison_rates(study: Study, found: Sequence[Group], model: str, path: Path) -> bool:
    """Attack success against the poison rate, with intervals. False where nothing was drawn."""
    mine = _plain(found, model)
    attacks = list(dict.fromkeys(group.setting.attack for group in mine))
    if not attacks:
        return False
    figure, axes = _figure(len(attacks), 1)
    for at, attack in enumerate(attacks):
        axis = axes[at // WIDEST][at % WIDEST]
        here = [g for g in mine if g.setting.attack == attack]
        defences = list(dict.fromkeys(g.setting.defence for g in here))
        for place, defence in enumerate(defences):
            aside = 10 ** (STEP_ASIDE * (place - (len(defences) - 1) / 2))
            _draw_rates(axis, study, [g for g in here if g.setting.defence == defence], aside=aside)
        axis.set_title(f"{attack_label(attack)} ({model})", fontsize=10)
        axis.set_xscale("log")
        ticks = sorted({g.setting.poison_rate for g in here})
        axis.set_xticks([100 * each for each in ticks], [f"{100 * each:g}" for each in ticks])
        axis.minorticks_off()
        axis.set_ylim(-3, 103)
        axis.set_xlabel("poison rate, %")
        if at % WIDEST == 0:
            axis.set_ylabel("attack success, %")
    _legend(figure, axes)
    _save(figure, path)
    return True


def _draw_rates(axis: Any, study: Study, groups: Sequence[Group], *, aside: float) -> None:
    """One defence's line; its points stand at ``aside`` times their poison rates."""
    groups = sorted(groups, key=lambda group: group.setting.poison_rate)
    axis.errorbar(
        [100 * aside * group.setting.poison_rate for group in groups],
        [_percent(group.asr) for group in groups],
        yerr=_bars(groups),
        capsize=2,
        **_look(study, groups[0].setting.defence),
    )


def swept(found: Sequence[Sweep], model: str, constant: str, path: Path) -> bool:
    """Attack success and BLEU against one constant, a line for each attack. False where nothing was drawn.

    The values stand at equal distances: they crowd towards 1, where they matter most.
    """
    mine = [each for each in found if (each.place.model, each.constant) == (model, constant)]
    if not mine:
        return False
    figure, axes = _figure(2, 1, sharey="none")
    values = sorted({value for each in mine for value, _ in each.points})
    for at, each in enumerate(mine):
        _draw_sweep(axes[0][0], axes[0][1], each, values, look={**_style(at), "label": _sweep_label(each)})
    for axis, said in zip(axes[0], ("attack success, %", "BLEU, clean prompts"), strict=True):
        axis.set_title(f"{said} ({model})", fontsize=10)
        axis.set_xlabel(f"{CONSTANTS[constant]} ({constant})")
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes[0][0].set_ylim(-3, 103)
    _legend(figure, axes)
    _save(figure, path)
    return True


def _sweep_label(line: Sweep) -> str:
    place = line.place
    attack = attack_label(place.attack) + (f" {100 * place.poison_rate:g} %" if place.poison_rate else "")
    recipe = "" if place.training == "default" else place.training
    return ", ".join(each for each in (attack, line.strategy, line.held, recipe) if each)


def _draw_sweep(
    above: Any, below: Any, line: Sweep, values: Sequence[float], *, look: dict[str, Any]
) -> None:
    places = [values.index(value) for value, _ in line.points]
    groups = [group for _, group in line.points]
    if line.place.attack != NO_ATTACK:
        above.errorbar(
            places, [_percent(group.asr) for group in groups], yerr=_bars(groups), capsize=2, **look
        )
    below.plot(places, [group.bleu for group in groups], **look)


def _bars(groups: Sequence[Group]) -> list[list[float]]:
    """Length of the interval below and above each rate, in percent."""
    rates = [_percent(group.asr) for group in groups]
    bounds = [interval_over_seeds(group.asr, len(group.outcomes)) for group in groups]
    return [
        [max(0.0, rate - 100 * low) for rate, (low, _) in zip(rates, bounds, strict=True)],
        [max(0.0, 100 * high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)],
    ]


def draw(study: Study, found: dict[Setting, Group], out: Path) -> list[str]:
    """All pictures of a study; returns their file names."""
    drawn: list[str] = []
    lines = sweeps(study, found)
    for model in study.models:
        for name, picture in (("early-learning", early_learning), ("poison-rates", poison_rates)):
            file = f"{name}-{model}.png"
            if picture(study, list(found.values()), model, out / file):
                drawn.append(file)
        for constant in dict.fromkeys(each.constant for each in lines):
            file = f"sweep-{constant}-{model}.png"
            if swept(lines, model, constant, out / file):
                drawn.append(file)
    return drawn
