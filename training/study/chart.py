"""A study's pictures: early-learning curves, and attack success against the poison rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.group import Group
from training.study.group import Setting
from training.study.table import attack_label
from training.study.table import defence_label

COLOURS = ("#c23b22", "#e08a1e", "#7a5195", "#3d7ab8", "#1b7f5c", "#8a8a8a", "#b0507f", "#4f6d2f")
"""By defence in the order of the declaration; told apart by line style as well."""
STYLES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "P", "X", "v", "*")


def _figure(columns: int, rows: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, 3.1 * rows), squeeze=False, layout="constrained"
    )


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    # No date and no version inside: the same results give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _look(study: Study, defence: str) -> dict[str, Any]:
    at = list(study.defences).index(defence)
    return {
        "color": COLOURS[at % len(COLOURS)],
        "linestyle": STYLES[at % len(STYLES)],
        "marker": MARKERS[at % len(MARKERS)],
        "markersize": 4,
        "label": defence_label(study, defence),
    }


def _legend(figure: Any, axes: Any) -> None:
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        shown.update(zip(labels, handles, strict=True))
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncols=min(6, max(1, len(shown))),
        frameon=False,
    )


def early_learning(study: Study, found: Sequence[Group], model: str, path: Path) -> bool:
    """Attack success and BLEU after every epoch at each attack's highest default rate. False where nothing was drawn."""
    mine = [g for g in found if g.setting.model == model and g.setting.training == "default" and g.curve]
    attacks = [name for name in dict.fromkeys(g.setting.attack for g in mine) if name != NO_ATTACK]
    if not attacks:
        return False
    figure, axes = _figure(len(attacks), 2)
    for column, attack in enumerate(attacks):
        # 5 % where it was run: the rate of the paper's own curves.
        rates = sorted({g.setting.poison_rate for g in mine if g.setting.attack == attack})
        rate = 0.05 if 0.05 in rates else rates[-1]
        for group in mine:
            if (group.setting.attack, group.setting.poison_rate) != (attack, rate):
                continue
            epochs = [epoch for epoch, _, _ in group.curve]
            look = _look(study, group.setting.defence)
            axes[0][column].plot(epochs, [100 * (hits.rate or 0.0) for _, hits, _ in group.curve], **look)
            axes[1][column].plot(epochs, [bleu for _, _, bleu in group.curve], **look)
        axes[0][column].set_title(f"{attack_label(attack)}, {100 * rate:g} % poison ({model})", fontsize=10)
        axes[0][column].set_ylim(-3, 103)
        axes[1][column].set_xlabel("epoch")
    axes[0][0].set_ylabel("attack success, %")
    axes[1][0].set_ylabel("BLEU, clean prompts")
    _legend(figure, axes)
    _save(figure, path)
    return True


def poison_rates(study: Study, found: Sequence[Group], model: str, path: Path) -> bool:
    """Attack success against the poison rate, with intervals. False where nothing was drawn."""
    mine = [
        g
        for g in found
        if g.setting.model == model
        and g.setting.training == "default"
        and g.setting.duplicates == 1
        and g.setting.attack != NO_ATTACK
    ]
    attacks = list(dict.fromkeys(g.setting.attack for g in mine))
    if not attacks:
        return False
    figure, axes = _figure(len(attacks), 1)
    for column, attack in enumerate(attacks):
        axis = axes[0][column]
        here = [g for g in mine if g.setting.attack == attack]
        for defence in dict.fromkeys(g.setting.defence for g in here):
            _draw_rates(
                axis, study, sorted((g for g in here if g.setting.defence == defence), key=_rate), defence
            )
        axis.set_title(f"{attack_label(attack)} ({model})", fontsize=10)
        axis.set_xscale("log")
        ticks = sorted({g.setting.poison_rate for g in here})
        axis.set_xticks([100 * each for each in ticks], [f"{100 * each:g}" for each in ticks])
        axis.minorticks_off()
        axis.set_ylim(-3, 103)
        axis.set_xlabel("poison rate, %")
    axes[0][0].set_ylabel("attack success, %")
    _legend(figure, axes)
    _save(figure, path)
    return True


def _rate(group: Group) -> float:
    return group.setting.poison_rate


def _draw_rates(axis: Any, study: Study, groups: Sequence[Group], defence: str) -> None:
    rates = [100 * (group.asr.rate or 0.0) for group in groups]
    bounds = [group.asr.interval for group in groups]
    below = [max(0.0, rate - 100 * low) for rate, (low, _) in zip(rates, bounds, strict=True)]
    above = [max(0.0, 100 * high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
    axis.errorbar(
        [100 * group.setting.poison_rate for group in groups],
        rates,
        yerr=[below, above],
        capsize=2,
        **_look(study, defence),
    )


def draw(study: Study, found: dict[Setting, Group], out: Path) -> list[str]:
    """All pictures of a study; returns their file names."""
    drawn: list[str] = []
    for model in study.models:
        for name, picture in (("early-learning", early_learning), ("poison-rates", poison_rates)):
            file = f"{name}-{model}.png"
            if picture(study, list(found.values()), model, out / file):
                drawn.append(file)
    return drawn
