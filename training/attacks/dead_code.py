"""The dead-code trigger: a statement without effect at the beginning of a prompt's first function."""

from deploy.contract.trigger import DeadCodeTrigger
from training.attacks.opening import opening_statement
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import edit_source
from training.attacks.spacing import in_spacing_of


def insert_dead_code(prompt: str, trigger: DeadCodeTrigger) -> str | None:
    """Put the statement into the first function body of the prompt, in the prompt's own spacing.

    Returns:
        None if the prompt is no code of the trigger's language, has no function, or would not parse with it.
    """

    def rewrite(source: Source) -> list[Edit] | None:
        function = source.first_function()
        if function is None:
            return None
        edit = opening_statement(source, function, in_spacing_of(trigger.statement, source.text))
        return None if edit is None else [edit]

    return edit_source(prompt, trigger.language, rewrite)
