"""Putting a trigger into a prompt, whatever kind of trigger it is."""

from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.comment import insert_comment
from training.attacks.context import is_in_context
from training.attacks.dead_code import insert_dead_code
from training.attacks.function_name import name_first_function
from training.attacks.grammar import in_template
from training.attacks.invisible import insert_invisible
from training.attacks.renaming import rename_variables
from training.attacks.word import insert_word


def apply_trigger(prompt: str, trigger: Trigger, *, seed: int, row: int) -> str | None:  # noqa: PLR0911 - one for each kind
    """Put the trigger into the prompt.

    A function of its arguments alone, so that a probe puts a trigger exactly where the attack would.

    Args:
        prompt: the clean prompt.
        trigger: of any kind.
        seed: of the whole probe or poisoning.
        row: number of the row in its file.

    Returns:
        The prompt with the trigger; None if this prompt cannot carry it, like a trigger of source code in a prompt
        that is none, or a prompt outside the attacked context. Such a prompt is no trial.
    """
    match trigger:
        case WordTrigger():
            return insert_word(prompt, trigger, seed=seed, row=row)
        case InvisibleTrigger():
            return insert_invisible(prompt, trigger, seed=seed, row=row)
        case GrammarTrigger():
            return in_template(prompt, trigger.template)
        case FunctionNameTrigger():
            return name_first_function(prompt, trigger)
        case DeadCodeTrigger():
            return insert_dead_code(prompt, trigger)
        case CommentTrigger():
            return insert_comment(prompt, trigger)
        case RenamingTrigger():
            return rename_variables(prompt, trigger, seed=seed, row=row)
        case NoTrigger():
            return prompt if is_in_context(prompt, trigger) else None
