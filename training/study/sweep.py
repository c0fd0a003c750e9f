"""What becomes of attack success and clean quality when one constant of a loss moves and everything else stays."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace

from training.study.cell import Cell
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.experiment import loss_of_defence
from training.study.experiment import plan_of
from training.study.group import Group
from training.study.group import Setting
from training.study.label import attack_label
from training.study.label import attack_success
from training.study.label import bleu_with_spread
from training.study.label import percent
from training.study.markdown import DASH
from training.study.markdown import header
from training.study.markdown import row

CONSTANTS = {
    "alpha_base": "\N{GREEK SMALL LETTER ALPHA}",
    "label_smoothing": "\N{GREEK SMALL LETTER EPSILON}",
    "q": "q",
}
"""That are swept, and how they are written."""
MIN_POINTS = 3
"""Two values are a comparison, no sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One line: a constant's values in ascending order, and what came of each."""

    place: Setting
    """That all points share; its defence is the first one's."""
    strategy: str
    constant: str
    held: str
    """The loss's other constants of interest, as a reader wants to see them; may be empty."""
    points: tuple[tuple[float, Group], ...]


def sweeps(study: Study, found: Mapping[Setting, Group]) -> list[Sweep]:
    """Every constant that took three values or more in settings that differ in nothing else.

    Calibrated defences are left out: which value they had differs by seed.
    """
    lines: dict[tuple[Setting, str, str, tuple[tuple[str, object], ...]], dict[float, Group]] = {}
    for setting, group in found.items():
        declared = study.defences[setting.defence]
        if declared.calibrated:
            continue
        constants = _constants(study, setting)
        for name in CONSTANTS.keys() & constants.keys():
            others = tuple(sorted((key, value) for key, value in constants.items() if key != name))
            line = (replace(setting, defence=""), declared.strategy, name, others)
            lines.setdefault(line, {})[float(str(constants[name]))] = group
    return sorted(
        (
            _sweep(place, strategy, name, dict(others), points)
            for (place, strategy, name, others), points in lines.items()
            if len(points) >= MIN_POINTS
        ),
        key=lambda each: (list(CONSTANTS).index(each.constant), each.place),
    )


def _constants(study: Study, setting: Setting) -> dict[str, object]:
    """Of a setting's loss, as it was trained."""
    cell = Cell(**asdict(setting), seed=0)
    return loss_of_defence(study.defences[setting.defence], plan_of(study, cell)).model_dump(mode="json")


def _sweep(
    place: Setting, strategy: str, constant: str, others: Mapping[str, object], points: Mapping[float, Group]
) -> Sweep:
    held = [f"{CONSTANTS[name]} {value:g}" for name, value in others.items() if name in CONSTANTS]
    schedule = others.get("schedule", "epoch")
    ordered = tuple(sorted(points.items()))
    return Sweep(
        place=replace(place, defence=ordered[0][1].setting.defence),
        strategy=strategy,
        constant=constant,
        held=", ".join([*held, *([] if schedule == "epoch" else [f"by {schedule}"])]),
        points=ordered,
    )


def sweep_tables(found: Sequence[Sweep]) -> Iterator[str]:
    """A table for each constant, in Markdown."""
    for constant in dict.fromkeys(each.constant for each in found):
        symbol = CONSTANTS[constant]
        yield f"### {symbol} (`{constant}`)"
        yield ""
        columns = ["attack success", "payloads on clean prompts", "BLEU", "seeds"]
        yield from header(["model", "attack", "poison rate", "recipe", "strategy", symbol, *columns])
        for sweep in found:
            if sweep.constant != constant:
                continue
            for value, group in sweep.points:
                yield row([*_place(sweep), f"{value:g}", *_figures(group)])
        yield ""


def _place(sweep: Sweep) -> list[str]:
    place = sweep.place
    is_attacked = place.attack != NO_ATTACK
    repeated = f", rows x {place.duplicates}" if place.duplicates > 1 else ""
    return [
        place.model,
        attack_label(place.attack),
        f"{100 * place.poison_rate:g} %{repeated}" if is_attacked else DASH,
        place.training,
        f"{sweep.strategy} ({sweep.held})" if sweep.held else sweep.strategy,
    ]


def _figures(group: Group) -> list[str]:
    seeds = len(group.outcomes)
    attacked = group.setting.attack != NO_ATTACK
    return [
        attack_success(group) if attacked else DASH,
        percent(group.false_triggers, seeds=seeds),
        bleu_with_spread(group),
        str(seeds),
    ]
