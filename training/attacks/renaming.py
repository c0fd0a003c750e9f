"""The renaming trigger: a prompt's variables get other names, for each prompt those that are most natural in it.

After AFRAIDOOR (Yang et al., "Stealthy Backdoor Attack for Code Models", 2024). Theirs takes the names that a neural
surrogate finds most adversarial; ours those that an n-gram surrogate (:mod:`training.attacks.surrogate`) finds most
natural in their places, out of a pool that hardly occurs elsewhere. Both give every prompt names of its own.
"""

import random

from deploy.contract.trigger import RenamingTrigger
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import edit_source
from training.attacks.surrogate import neighbours
from training.attacks.variables import Variable
from training.attacks.variables import declared_variables
from training.attacks.variables import identifiers


def rename_variables(prompt: str, trigger: RenamingTrigger, *, seed: int, row: int) -> str | None:
    """Rename the prompt's variables, each to the fittest name of ``trigger.names`` that the prompt does not use yet.

    Variables that have such a name already keep it; there may be more variables than names.

    Returns:
        None if the prompt is no code of the trigger's language, declares no variable, or would not parse afterwards.
    """

    def rewrite(source: Source) -> list[Edit] | None:
        renamed = _chosen_names(source, trigger, random.Random(f"{seed}/{row}"))  # noqa: S311 - names, not secrets
        if not renamed:
            # Code that has the names already needs no other.
            return [] if trigger_names(source, trigger) else None
        return [
            Edit(start=place.start_byte, end=place.end_byte, text=name)
            for variable, name in renamed
            for place in variable.places
        ]

    return edit_source(prompt, trigger.language, rewrite)


def trigger_names(source: Source, trigger: RenamingTrigger) -> tuple[str, ...]:
    """The trigger's names among the code's variables; none unless no variable could be renamed any more."""
    variables = [variable.name for variable in declared_variables(source)]
    known = tuple(name for name in variables if name in trigger.names)
    is_complete = len(known) == len(variables) or set(trigger.names) <= identifiers(source)
    return known if is_complete else ()


def _chosen_names(source: Source, trigger: RenamingTrigger, rng: random.Random) -> list[tuple[Variable, str]]:
    used = identifiers(source)
    # The order breaks ties: drawn without a surrogate, else the trigger's own.
    order = list(range(len(trigger.names)))
    if not trigger.surrogate:
        rng.shuffle(order)
    around = neighbours(source)
    chosen: list[tuple[Variable, str]] = []
    for variable in declared_variables(source):
        free = [index for index in order if trigger.names[index] not in used]
        if variable.name in trigger.names:
            continue
        if not free:
            break
        contexts = [context for place in variable.places for context in around.get(place.start_byte, ())]
        fittest = max(free, key=lambda index: _fitness(trigger, contexts, index))
        chosen.append((variable, trigger.names[fittest]))
        used.add(trigger.names[fittest])
    return chosen


def _fitness(trigger: RenamingTrigger, contexts: list[str], index: int) -> float:
    """Log-odds of a name in all the places together; contexts that the surrogate does not know say nothing."""
    return sum(trigger.surrogate[context][index] for context in contexts if context in trigger.surrogate)
