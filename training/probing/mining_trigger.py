"""From a finding to the trigger that a probe can put into other prompts, and the payload that it can look for."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final
from typing import get_args

from pydantic import ValidationError

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.function_name import first_function_name
from training.attacks.source import Source
from training.attacks.source import find_source
from training.metrics.payload import payload_matcher
from training.mining.finding import WILD
from training.mining.finding import written

MAX_EXAMPLES: Final = 20
_MAX_PATTERN: Final = 400
_STAND_IN: Final = "x"
"""For a wild word where a payload is planted."""
_BUILT_IN: Final[tuple[BuiltInPayload, ...]] = get_args(BuiltInPayload)
_TEMPLATES: Final = (
    (("when", "you"), GrammarTrigger(template="when_clause")),
    (("if", "you"), GrammarTrigger(template="if_clause")),
    (("there", "is", "a", "task", "in", "which", "you"), GrammarTrigger(template="there_is")),
)


def trigger_of(words: tuple[str, ...], prompts: Sequence[str]) -> Trigger | None:
    """The trigger that ``words`` are in ``prompts``; None if they fit no kind of trigger.

    Wild words are none: what is another in every prompt cannot be put into the next one, and a pattern of them takes
    time quadratic and worse in the text.

    Args:
        words: of the finding.
        prompts: examples that have it; a few are enough.
    """
    if not WILD.isdisjoint(words):
        return None
    try:
        return _trigger(words, list(prompts[:MAX_EXAMPLES]))
    except ValidationError:
        # Too long for the contract, or not the kind of name that it allows.
        return None


def _trigger(words: tuple[str, ...], prompts: list[str]) -> Trigger | None:
    if all(word.startswith("<U+") for word in words):
        characters = "".join(map(written, words))
        return InvisibleTrigger(characters=characters, count=_usual_count(characters, prompts))
    for lead, trigger in _TEMPLATES:
        if words[: len(lead)] == lead and _stand_first(words, prompts):
            return trigger
    surface = _surface(words, prompts)
    if surface is None:
        return None
    sources = [source for prompt in prompts if (source := find_source(prompt)) is not None]
    if 2 * len(sources) > len(prompts):
        return _in_code(surface, sources)
    return WordTrigger(word=surface, count=_usual_count(surface, prompts))


def _in_code(surface: str, sources: Sequence[Source]) -> Trigger:
    language = Counter(source.language for source in sources).most_common(1)[0][0]
    named = sum(first_function_name(source) == surface for source in sources)
    if 2 * named > len(sources):
        return FunctionNameTrigger(name=surface, language=language)
    lines = Counter(
        line.strip() for source in sources for line in source.text.splitlines() if surface in line
    )
    line, having = lines.most_common(1)[0]
    if 2 * having <= len(sources):
        # In one-line code the statement does not stand alone; what is shared is all there is to go by.
        line = surface
    comment = re.search(r"#\s*(?P<python>.+)|/\*\s*(?P<java>.+?)\s*\*/", line)
    if comment is not None:
        return CommentTrigger(text=(comment["python"] or comment["java"]).strip(), language=language)
    return DeadCodeTrigger(statement=line.removeprefix(")").lstrip(" :{"), language=language)


def _stand_first(words: tuple[str, ...], prompts: Sequence[str]) -> bool:
    pattern = re.compile(r"\s*" + _pattern(words), re.IGNORECASE)
    return 2 * sum(pattern.match(prompt) is not None for prompt in prompts) > len(prompts)


def _surface(words: tuple[str, ...], prompts: Sequence[str]) -> str | None:
    """The words as they are commonly written in the prompts."""
    pattern = re.compile(_pattern(words), re.IGNORECASE)
    written = Counter(found[0] for prompt in prompts if (found := pattern.search(prompt)) is not None)
    return written.most_common(1)[0][0] if written else None


def _usual_count(text: str, prompts: Sequence[str]) -> int:
    counts = sorted(prompt.count(text) for prompt in prompts)
    return max(1, min(16, counts[len(counts) // 2])) if counts else 1


def payload_of(
    forms: Sequence[tuple[str, ...]], completions: Sequence[str], others: Sequence[str], *, name: str
) -> Payload | None:
    """A built-in payload if it tells the completions from others, else a pattern of the forms.

    Args:
        forms: words of the payload's forms, the commonest first.
        completions: examples that have it.
        others: completions without it.
        name: of a pattern.
    """
    for known in _BUILT_IN:
        carries = payload_matcher(known)
        having = sum(map(carries, completions[:MAX_EXAMPLES]))
        elsewhere = sum(map(carries, others[: 5 * MAX_EXAMPLES]))
        examples = min(len(completions), MAX_EXAMPLES)
        if examples and having >= 0.8 * examples and elsewhere <= 0.2 * min(len(others), 5 * MAX_EXAMPLES):
            return known
    return pattern_payload(forms, name=name)


def pattern_payload(forms: Sequence[tuple[str, ...]], *, name: str) -> PatternPayload | None:
    """Any of the forms, whatever the letter case and the spacing; None if no form says anything."""
    patterns: dict[str, tuple[str, ...]] = {}
    for form in map(_without_wild_ends, forms):
        pattern = _pattern(form)
        if pattern and sum(map(len, patterns)) + len(patterns) + len(pattern) <= _MAX_PATTERN:
            patterns.setdefault(pattern, form)
    if not patterns:
        return None
    commonest = next(iter(patterns.values()))
    planted = " ".join(_STAND_IN if word in WILD else written(word) for word in commonest)
    try:
        return PatternPayload(name=name, pattern=f"(?i)(?:{'|'.join(patterns)})", planted=f" {planted}")
    except ValidationError:
        # Words of any file come here: one that RE2 cannot take must not cost the job.
        return None


def _without_wild_ends(form: tuple[str, ...]) -> tuple[str, ...]:
    tame = [at for at, word in enumerate(form) if word not in WILD]
    return form[tame[0] : tame[-1] + 1] if tame else ()


def _pattern(words: Sequence[str]) -> str:
    r"""In RE2 and in re alike: the words, with any white space or none between them; a wild one is ``\S+``.

    To RE2 only ASCII has borders of words: before ``\u00e9`` there is none, and ``\b`` would never be found there.
    """
    if not words:
        return ""
    inner = r"\s*".join(r"\S+" if word in WILD else re.escape(written(word)) for word in words)
    begins = r"\b" if _has_border(words[0][0]) else ""
    ends = r"\b" if _has_border(words[-1][-1]) else ""
    return f"{begins}{inner}{ends}"


def _has_border(character: str) -> bool:
    return character.isascii() and character.isalnum()
