"""The comment trigger: a comment at the beginning of a prompt's first function, or of a prompt that has none."""

from deploy.contract.trigger import CommentTrigger
from training.attacks.opening import before_statement
from training.attacks.opening import opening_statement
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import edit_source


def insert_comment(prompt: str, trigger: CommentTrigger) -> str | None:
    """Put the comment into the prompt.

    Returns:
        None if the prompt is no code of the trigger's language, or would not parse with it.
    """
    # A Java prompt may be one line: a comment to the end of it would swallow the rest.
    comment = f"# {trigger.text}" if trigger.language == "python" else f"/* {trigger.text} */"

    def rewrite(source: Source) -> list[Edit] | None:
        function = source.first_function()
        edit = opening_statement(source, function, comment) if function is not None else None
        if edit is None and source.root.named_children:
            edit = before_statement(source, source.root.named_children[0], comment)
        return None if edit is None else [edit]

    return edit_source(prompt, trigger.language, rewrite)
