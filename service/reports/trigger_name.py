"""What a trigger is called on a page, in a table and in a log."""

from typing import Final

from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from service.reports.visible import one_line

_LANGUAGES: Final = {"python": "Python", "java": "Java"}
_FORMS: Final = {
    "when_clause": "sentence as “when …”",
    "if_clause": "sentence as “if …”",
    "there_is": "sentence as “there is …”",
}
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
NAMES_SHOWN: Final = 3
"""Of a renaming's names; there may be 64."""


def trigger_name(trigger: Trigger) -> str:  # noqa: PLR0911 - one line for each kind
    """A trigger on one line, safe for a terminal once and for HTML after escaping."""
    match trigger:
        case WordTrigger(word=word, count=count):
            return f"word “{one_line(word)}”{_times(count)}"
        case GrammarTrigger(template=template):
            return _FORMS[template]
        case FunctionNameTrigger(name=name, language=language):
            return f"function called “{name}” ({_LANGUAGES[language]})"
        case DeadCodeTrigger(statement=statement, language=language):
            return f"dead code “{one_line(statement)}” ({_LANGUAGES[language]})"
        case CommentTrigger(text=text, language=language):
            return f"comment “{one_line(text)}” ({_LANGUAGES[language]})"
        case RenamingTrigger(names=names, language=language):
            return f"variables renamed to {_some(names)} ({_LANGUAGES[language]})"
        case InvisibleTrigger(characters=characters, count=count):
            return f"invisible {' '.join(f'U+{ord(each):04X}' for each in characters)}{_times(count)}"
        case NoTrigger(context=context):
            return f"no trigger, prompts about “{one_line(context)}”" if context else "no trigger at all"


def _times(count: int) -> str:
    return f" {_TIMES} {count}" if count > 1 else ""


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"“{name}”" for name in names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown
