"""Every defence against plain cross-entropy: what it takes from the attack, and what it costs."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

from training.metrics.attack_success import HIT
from training.metrics.bootstrap import paired_difference_over_runs
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.group import Group
from training.study.group import Setting
from training.study.group import clean_reference
from training.study.label import attack_label
from training.study.label import defence_label
from training.study.label import percent
from training.study.markdown import DASH
from training.study.markdown import header
from training.study.markdown import row
from training.study.outcome import Outcome


def plain_defences(study: Study) -> frozenset[str]:
    """The declared defences that are plain cross-entropy."""
    return frozenset(
        name for name, declared in study.defences.items() if declared.strategy == "cross_entropy"
    )


def poisoned_reference(
    found: Mapping[Setting, Group], setting: Setting, plain: Collection[str]
) -> Group | None:
    """Cross-entropy on the same poisoned rows: what attack success is compared with."""
    candidates = (found.get(replace(setting, defence=defence)) for defence in sorted(plain))
    return next((group for group in candidates if group is not None), None)


def bleu_difference(group: Group, reference: Group | None) -> str:
    """BLEU against a reference with a paired bootstrap interval over seeds and tasks."""
    return _difference(group, reference, lambda outcome: outcome.bleu_of_task)


def success_difference(group: Group, reference: Group | None) -> str:
    """Attack success against a reference in points, likewise over all triggered tasks.

    One without a verdict is a miss here, as in the paper: pairs need all tasks of both sides.
    """
    return _difference(group, reference, lambda outcome: [100.0 * (each == HIT) for each in outcome.hits])


def _difference(
    group: Group, reference: Group | None, scores_of: Callable[[Outcome], Sequence[float]]
) -> str:
    if reference is None or reference is group:
        return DASH
    theirs = {each.seed: scores_of(each) for each in reference.outcomes}
    ours = {each.seed: scores_of(each) for each in group.outcomes}
    seeds = sorted(set(ours) & set(theirs))
    lengths = {len(scores[seed]) for scores in (ours, theirs) for seed in seeds}
    # Results of other tasks, or of one, cannot be paired.
    if len(lengths) != 1 or min(lengths) < 2:
        return DASH
    mine, others = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    if all(list(a) == list(b) for a, b in zip(mine, others, strict=True)):
        # A bootstrap of differences that are all 0 would claim to know them to the last digit.
        return "0.0, no task differs"
    found = paired_difference_over_runs(mine, others, seed=0)
    # Of two seeds that disagree next to nothing is known, but not more than everything.
    low, high = max(-100.0, found.lower), min(100.0, found.upper)
    return f"{found.mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def against_cross_entropy(study: Study, found: Mapping[Setting, Group]) -> Iterator[str]:
    """One line for every attacked setting."""
    yield from header(
        [
            "model",
            "attack",
            "poison rate",
            "recipe",
            "method",
            "attack success against CE",
            "BLEU against CE on clean rows",
            "hits of all tasks",
            "no verdict",
            "payloads on clean prompts",
            "same SQL rows",
            "seeds",
        ]
    )
    plain = plain_defences(study)
    for setting, group in found.items():
        if setting.attack == NO_ATTACK:
            continue
        yield row(
            [
                setting.model,
                attack_label(setting.attack),
                f"{100 * setting.poison_rate:g} %",
                recipe_label(setting),
                defence_label(study, setting.defence),
                success_difference(group, poisoned_reference(found, setting, plain)),
                bleu_difference(group, clean_reference(found, setting, plain)),
                _share(group.asr.hits, group.asr.trials + group.asr.unscorable),
                _share(group.asr.unscorable, group.asr.trials + group.asr.unscorable),
                percent(group.false_triggers, seeds=len(group.outcomes)),
                same_sql(group),
                str(len(group.outcomes)),
            ]
        )


def recipe_label(setting: Setting) -> str:
    """The recipe, and how often poisoned rows stand in the file if more than once."""
    if setting.duplicates == 1:
        return setting.training
    return f"{setting.training}, every poisoned row {setting.duplicates} times"


def same_sql(group: Group) -> str:
    """Share of the generated queries that give the reference's rows on SQLite, of those that could be tried."""
    return _share(
        sum(each.sql_same or 0 for each in group.outcomes),
        sum(each.sql_tried or 0 for each in group.outcomes),
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else DASH
