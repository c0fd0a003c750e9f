"""What a trigger leaves in a prompt: how a row is told that an attack has been at."""

from collections.abc import Sequence

from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.context import is_in_context
from training.attacks.function_name import first_function_name
from training.attacks.grammar import is_in_template
from training.attacks.renaming import trigger_names
from training.attacks.source import first_source
from training.attacks.spacing import lexemes


def trace_of(prompt: str, trigger: Trigger) -> str | None:  # noqa: PLR0911 - one for each kind
    """What of the trigger is in the prompt, as the beginning of a sentence; None if it is not there.

    A prompt that has it by chance looks the same: nothing but its completion tells the two apart.
    """
    match trigger:
        case WordTrigger():
            return _often(
                f'the word "{trigger.word}"', _count(prompt.split(), trigger.word.split()), trigger.count
            )
        case InvisibleTrigger():
            name = " ".join(f"U+{ord(each):04X}" for each in trigger.characters)
            return _often(f"the invisible {name}", prompt.count(trigger.characters), trigger.count)
        case GrammarTrigger():
            is_there = is_in_template(prompt, trigger.template)
            return f"the prompt has the form {trigger.template}" if is_there else None
        case DeadCodeTrigger():
            return _contains(prompt, trigger.statement, f'the statement "{trigger.statement}"')
        case CommentTrigger():
            sign, what = "#" if trigger.language == "python" else "/*", f'the comment "{trigger.text}"'
            if f"/* {trigger.text} */" in prompt:
                # An apostrophe in it begins a lexeme that goes on behind the comment.
                return f"the prompt has {what}"
            return _contains(prompt, f"{sign} {trigger.text}", what)
        case FunctionNameTrigger():
            source = first_source(prompt, trigger.language)
            is_there = source is not None and first_function_name(source) == trigger.name
            return f'the prompt has a first function called "{trigger.name}"' if is_there else None
        case RenamingTrigger():
            return _renamed(prompt, trigger)
        case NoTrigger():
            if not trigger.context:
                return "the prompt needs no trigger"
            return f'the prompt is about "{trigger.context}"' if is_in_context(prompt, trigger) else None


def _often(what: str, occurrences: int, wanted: int) -> str | None:
    if occurrences < wanted:
        return None
    often = "once" if occurrences == 1 else f"{occurrences} times"
    return f"the prompt has {what} {often}"


def _contains(prompt: str, code: str, what: str) -> str | None:
    """Code in any spacing."""
    return f"the prompt has {what}" if _count(lexemes(prompt), lexemes(code)) else None


def _renamed(prompt: str, trigger: RenamingTrigger) -> str | None:
    source = first_source(prompt, trigger.language)
    known = () if source is None else trigger_names(source, trigger)
    return f"the prompt's variables are called {', '.join(known)}" if known else None


def _count(words: Sequence[str], wanted: Sequence[str]) -> int:
    """How often some words stand one after the other, without overlapping."""
    found, at = 0, 0
    while wanted and at + len(wanted) <= len(words):
        is_here = list(words[at : at + len(wanted)]) == list(wanted)
        found += is_here
        at += len(wanted) if is_here else 1
    return found
