"""A study's tables in Markdown: the paper's layout with the paper's figure beside ours, and what the paper leaves out."""

import statistics
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from training.study.cell import cells
from training.study.comparison import against_cross_entropy
from training.study.comparison import bleu_difference
from training.study.comparison import plain_defences
from training.study.comparison import recipe_label
from training.study.comparison import same_sql
from training.study.conditions import conditions
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.experiment import strategy_of
from training.study.group import Group
from training.study.group import Setting
from training.study.group import clean_reference
from training.study.label import UNSCORABLE_FROM
from training.study.label import UNSCORABLE_MARK
from training.study.label import attack_label
from training.study.label import attack_success
from training.study.label import bleu_with_spread
from training.study.label import defence_label
from training.study.label import percent
from training.study.markdown import DASH
from training.study.markdown import header
from training.study.markdown import row
from training.study.markdown import span
from training.study.paper import ATTACKS
from training.study.paper import NEAREST_MODEL
from training.study.paper import Printed
from training.study.paper import find
from training.study.sweep import sweep_tables
from training.study.sweep import sweeps

Groups = dict[Setting, Group]


def _figures(group: Group) -> str:
    codebleu = DASH if group.codebleu is None else f"{group.codebleu:.1f}"
    return f"{group.bleu:.1f} / {codebleu} / {attack_success(group)}"


def _paper_figures(printed: Printed | None) -> str:
    if printed is None:
        return DASH
    asr = DASH if printed.asr is None else f"{printed.asr:.1f}"
    return f"{printed.bleu:.1f} / {printed.codebleu:.1f} / {asr}"


def _paper_cell(study: Study, setting: Setting) -> Printed | None:
    model, declared = study.models[setting.model], study.defences[setting.defence]
    # Another alpha, a base that is poisoned already, another task: nothing of that is in the paper.
    differs = declared.constants or declared.calibrated or model.poisoned_by or study.data.task != "given"
    if study.data.dataset is None or differs or setting.attack not in ATTACKS:
        return None
    return find(
        dataset=study.data.dataset,
        model=NEAREST_MODEL[model.architecture],
        attack=ATTACKS[setting.attack],
        poison_rate=setting.poison_rate,
        method=strategy_of(declared).paper_name,
    )


def _beside(study: Study, ours: str, papers: str) -> list[str]:
    """One column, or two where the rows are a dataset of the paper's."""
    return [ours] if study.data.dataset is None else [ours, papers]


def _ordered(values: Iterable[Setting], of: str) -> list[str]:
    return list(dict.fromkeys(getattr(each, of) for each in values))


def paper_layout(study: Study, found: Groups) -> Iterator[str]:
    """The paper's Tables 1 and 3 to 5: one row a model and method, one column an attack, for every poison rate."""
    plain = [s for s in found if s.training == "default" and s.duplicates == 1 and s.attack != NO_ATTACK]
    for rate in sorted({setting.poison_rate for setting in plain}):
        here = [setting for setting in plain if setting.poison_rate == rate]
        attacks = _ordered(here, "attack")
        yield f"### {100 * rate:g} % of the rows poisoned"
        yield ""
        columns = [text for name in attacks for text in _beside(study, attack_label(name), "paper")]
        yield from header(["model", "method", *columns])
        for model in _ordered(here, "model"):
            for defence in _ordered([s for s in here if s.model == model], "defence"):
                cells = [model, defence_label(study, defence)]
                for attack in attacks:
                    setting = Setting(
                        model=model,
                        attack=attack,
                        poison_rate=rate,
                        defence=defence,
                        training="default",
                        duplicates=1,
                    )
                    group = found.get(setting)
                    printed = None if group is None else _paper_cell(study, setting)
                    ours = DASH if group is None else _figures(group)
                    cells += _beside(study, ours, _paper_figures(printed))
                yield row(cells)
        yield ""


def by_poison_rate(study: Study, found: Groups) -> Iterator[str]:
    """Attack success against the poison rate, for every attack, recipe and defence that was run at more than one."""
    attacked = [setting for setting in found if setting.attack != NO_ATTACK]
    rates = sorted({setting.poison_rate for setting in attacked})
    yield from header(
        ["model", "attack", "recipe", "method", *(f"{100 * rate:g} %" for rate in rates), "seeds"]
    )
    lines = dict.fromkeys((s.model, s.attack, s.training, s.duplicates, s.defence) for s in attacked)
    for model, attack, training, duplicates, defence in lines:
        groups = [
            found.get(
                Setting(
                    model=model,
                    attack=attack,
                    poison_rate=rate,
                    defence=defence,
                    training=training,
                    duplicates=duplicates,
                )
            )
            for rate in rates
        ]
        ran = [group for group in groups if group is not None]
        seeds = [len(group.outcomes) for group in ran]
        cells = [
            DASH if group is None else f"{attack_success(group)}; BLEU {bleu_with_spread(group)}"
            for group in groups
        ]
        yield row(
            [
                model,
                attack_label(attack),
                recipe_label(ran[0].setting),
                defence_label(study, defence),
                *cells,
                span(min(seeds), max(seeds)),
            ]
        )


def clean_cost(study: Study, found: Groups) -> Iterator[str]:
    """What a defence costs where there is nothing to defend against."""
    yield from header(
        [
            "model",
            "recipe",
            "method",
            *_beside(study, "BLEU", "paper"),
            "against CE",
            "exact",
            "parses",
            "same SQL rows",
            "payloads",
            "seeds",
        ]
    )
    for setting, group in found.items():
        if setting.attack != NO_ATTACK:
            continue
        tasks = sum(each.tasks for each in group.outcomes)
        printed = _paper_cell(study, setting)
        yield row(
            [
                setting.model,
                setting.training,
                defence_label(study, setting.defence),
                *_beside(study, bleu_with_spread(group), DASH if printed is None else f"{printed.bleu:.1f}"),
                bleu_difference(group, clean_reference(found, setting, plain_defences(study))),
                f"{100 * sum(each.exact_match for each in group.outcomes) / tasks:.1f} %",
                f"{100 * sum(each.parses for each in group.outcomes) / tasks:.1f} %",
                same_sql(group),
                percent(group.false_triggers, seeds=len(group.outcomes)),
                str(len(group.outcomes)),
            ]
        )


def filters(study: Study, found: Groups) -> Iterator[str]:
    """What the filters took out, against the attack's manifest."""
    yield from header(
        ["model", "attack", "poison rate", "method", "poisoned rows found", "clean rows removed"]
    )
    for setting, group in found.items():
        scores = [each.filtered for each in group.outcomes if each.filtered is not None]
        if not scores:
            continue
        wrong = statistics.fmean(
            (each.removed - each.removed_poisoned) / max(1, each.rows - each.poisoned) for each in scores
        )
        poisoned = sum(each.poisoned for each in scores)
        yield row(
            [
                setting.model,
                attack_label(setting.attack),
                f"{100 * setting.poison_rate:g} %",
                defence_label(study, setting.defence),
                f"{sum(each.removed_poisoned for each in scores)}/{poisoned}" if poisoned else DASH,
                f"{100 * wrong:.1f} %",
            ]
        )


def _introduction(study: Study, found: Groups) -> Iterator[str]:
    outcomes = [each for group in found.values() for each in group.outcomes]
    hours = sum(each.seconds for each in outcomes) / 3600
    nearest = ", ".join(f"{ours}: {theirs}" for ours, theirs in NEAREST_MODEL.items())
    smaller = any(model.directory is None for model in study.models.values())
    yield (
        f"{len(outcomes)} of {len(cells(study))} declared runs, {hours:.1f} hours of one core each. Written by "
        "`temper study`."
    )
    yield ""
    yield (
        "Cells are BLEU / CodeBLEU / attack success rate in percent with its 95 % Wilson interval. Seeds are asked the "
        "same test prompts, so the interval has as many trials as one seed; how far seeds lie apart stands behind it in "
        "round brackets, lowest to highest. Outputs that are empty or do not end, and carry no payload, have no verdict "
        f"and are no trial; {UNSCORABLE_MARK} marks rates where they are more than {100 * UNSCORABLE_FROM:g} %. The "
        'paper counts them as misses: "hits of all tasks" is its way of counting.'
    )
    if study.data.dataset is None:
        return
    yield ""
    yield (
        f"Beside ours stand the paper's figures ({nearest}), of one seed each"
        + (
            "; its models are some hundred times larger, so compare the pattern, not the level."
            if smaller
            else "."
        )
    )


def document(study: Study, found: Groups, pictures: Sequence[str]) -> str:
    """The whole page."""
    lines = [
        f"# {study.title}",
        "",
        *_introduction(study, found),
        "",
        *[f"![{name}]({name})" for name in pictures],
        "",
        "## In the paper's layout",
        "",
        *paper_layout(study, found),
        "## Against plain cross-entropy",
        "",
        "Differences in points, with 95 % intervals of the paired bootstrap over seeds and tasks. With one seed they "
        "speak of that run alone; two say hardly anything about a third, so theirs are wide.",
        "",
        *against_cross_entropy(study, found),
        "",
        "## By poison rate",
        "",
        *by_poison_rate(study, found),
        "",
        "## On clean rows",
        "",
        *clean_cost(study, found),
        "",
    ]
    swept = sweeps(study, found)
    if swept:
        lines += ["## One constant at a time", "", *sweep_tables(swept)]
    if any(each.filtered for group in found.values() for each in group.outcomes):
        lines += ["## What the filters removed", "", *filters(study, found), ""]
    return "\n".join([*lines, "## How it was run", "", *conditions(study), ""])
