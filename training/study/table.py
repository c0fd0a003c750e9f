"""A study's tables in Markdown: the paper's layout with the paper's figure beside ours, and what the paper leaves out."""

import statistics
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from deploy.contract.report import Hits
from training.metrics.bootstrap import paired_difference_over_runs
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.experiment import strategy_of
from training.study.group import Group
from training.study.group import Setting
from training.study.group import clean_reference
from training.study.paper import ATTACKS
from training.study.paper import NEAREST_MODEL
from training.study.paper import Printed
from training.study.paper import find

DASH = "\N{EN DASH}"
Groups = dict[Setting, Group]


def percent(hits: Hits) -> str:
    """A rate with its 95 % Wilson interval, in percent."""
    if hits.rate is None:
        return DASH
    low, high = hits.interval
    return f"{100 * hits.rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def defence_label(study: Study, name: str) -> str:
    """How tables call a defence."""
    declared = study.defences[name]
    return declared.label or strategy_of(declared).paper_name


def plain_defences(study: Study) -> frozenset[str]:
    """The declared defences that are plain cross-entropy."""
    return frozenset(
        name for name, declared in study.defences.items() if declared.strategy == "cross_entropy"
    )


def attack_label(name: str) -> str:
    """How tables call an attack."""
    return "clean rows" if name == NO_ATTACK else ATTACKS.get(name, name)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _header(cells: Sequence[str]) -> Iterator[str]:
    yield _row(cells)
    yield _row(["---"] * len(cells))


def _figures(group: Group) -> str:
    codebleu = DASH if group.codebleu is None else f"{group.codebleu:.1f}"
    return f"{group.bleu:.1f} / {codebleu} / {percent(group.asr)}"


def _paper_figures(printed: Printed | None) -> str:
    if printed is None:
        return DASH
    asr = DASH if printed.asr is None else f"{printed.asr:.1f}"
    return f"{printed.bleu:.1f} / {printed.codebleu:.1f} / {asr}"


def _paper_cell(study: Study, setting: Setting) -> Printed | None:
    architecture = study.models[setting.model].architecture
    declared = study.defences[setting.defence]
    if declared.constants or setting.attack not in ATTACKS:
        return None
    return find(
        dataset="Lyra",
        model=NEAREST_MODEL[architecture],
        attack=ATTACKS[setting.attack],
        poison_rate=setting.poison_rate,
        method=strategy_of(declared).paper_name,
    )


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
        columns = [text for name in attacks for text in (attack_label(name), "paper")]
        yield from _header(["model", "method", *columns])
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
                    cells += (
                        [DASH, DASH]
                        if group is None
                        else [
                            _figures(group),
                            _paper_figures(_paper_cell(study, setting)),
                        ]
                    )
                yield _row(cells)
        yield ""


def by_poison_rate(study: Study, found: Groups) -> Iterator[str]:
    """Attack success against the poison rate, for every attack, recipe and defence that was run at more than one."""
    attacked = [setting for setting in found if setting.attack != NO_ATTACK]
    rates = sorted({setting.poison_rate for setting in attacked})
    yield from _header(
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
        recipe = training if duplicates == 1 else f"{training}, every poisoned row {duplicates} times"
        seeds = max(len(group.outcomes) for group in groups if group is not None)
        cells = [
            DASH if group is None else f"{percent(group.asr)}; BLEU {group.bleu:.1f}" for group in groups
        ]
        yield _row([model, attack_label(attack), recipe, defence_label(study, defence), *cells, str(seeds)])


def clean_cost(study: Study, found: Groups) -> Iterator[str]:
    """What a defence costs where there is nothing to defend against."""
    yield from _header(
        ["model", "recipe", "method", "BLEU", "against cross-entropy", "exact", "parses", "payloads", "seeds"]
    )
    for setting, group in found.items():
        if setting.attack != NO_ATTACK:
            continue
        tasks = sum(each.tasks for each in group.outcomes)
        yield _row(
            [
                setting.model,
                setting.training,
                defence_label(study, setting.defence),
                f"{group.bleu:.1f}",
                difference(group, clean_reference(found, setting, plain_defences(study))),
                f"{100 * sum(each.exact_match for each in group.outcomes) / tasks:.1f} %",
                f"{100 * sum(each.parses for each in group.outcomes) / tasks:.1f} %",
                percent(group.false_triggers),
                str(len(group.outcomes)),
            ]
        )


def difference(group: Group, reference: Group | None) -> str:
    """BLEU against a reference with a paired bootstrap interval over seeds and tasks."""
    if reference is None or reference is group:
        return DASH
    theirs = {each.seed: each.bleu_of_task for each in reference.outcomes}
    ours = {each.seed: each.bleu_of_task for each in group.outcomes}
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return DASH
    found = paired_difference_over_runs(
        [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], seed=0
    )
    return f"{found.mean:+.1f} [{found.lower:+.1f}, {found.upper:+.1f}]"


def filters(study: Study, found: Groups) -> Iterator[str]:
    """What the filters took out, against the attack's manifest."""
    yield from _header(
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
        yield _row(
            [
                setting.model,
                attack_label(setting.attack),
                f"{100 * setting.poison_rate:g} %",
                defence_label(study, setting.defence),
                f"{sum(each.removed_poisoned for each in scores)}/{poisoned}" if poisoned else DASH,
                f"{100 * wrong:.1f} %",
            ]
        )


def document(study: Study, found: Groups, pictures: Sequence[str]) -> str:
    """The whole page."""
    outcomes = [each for group in found.values() for each in group.outcomes]
    hours = sum(each.seconds for each in outcomes) / 3600
    lines = [
        f"# {study.title}",
        "",
        f"{len(outcomes)} runs, {hours:.1f} hours of one core. Cells are BLEU / CodeBLEU / attack success rate in percent with "
        "its 95 % Wilson interval over the triggered tasks of all seeds together. Beside them stand the paper's figures "
        f"({', '.join(f'{ours}: {theirs}' for ours, theirs in NEAREST_MODEL.items())}); its models are some hundred times "
        "larger, so compare the pattern, not the level. Written by `temper study`.",
        "",
        *[f"![{name}]({name})" for name in pictures],
        "",
        "## In the paper's layout",
        "",
        *paper_layout(study, found),
        "## By poison rate",
        "",
        *by_poison_rate(study, found),
        "",
        "## On clean rows",
        "",
        *clean_cost(study, found),
        "",
    ]
    if any(each.filtered for each in outcomes):
        lines += ["## What the filters removed", "", *filters(study, found), ""]
    return "\n".join(lines)
