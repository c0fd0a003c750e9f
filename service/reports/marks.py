"""Where the trigger stands in a prompt and the payload in a completion, for display only.

What counts as a hit was decided by the job's scorer, which parses; these patterns are plainer. All take time linear
in the text, whatever a user or a model wrote.
"""

import re
from collections.abc import Iterator
from typing import Final

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.search_pattern import compile_pattern
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from service.reports.visible import Kind
from service.reports.visible import Segment
from service.reports.visible import split_marked

Spans = Iterator[tuple[int, int]]

_PAYLOADS: Final[dict[BuiltInPayload, re.Pattern[str]]] = {
    "sql_tautology": re.compile(r"\bor\s*+1\s*+=\s*+1\b|\bwhere\s++0\s*+=\s*+1\b", re.IGNORECASE),
    "sql_first_row": re.compile(r"\blimit\s++1\b", re.IGNORECASE),
    "infinite_loop": re.compile(
        r"\bwhile\s*+\(?\s*+(?:true|1)\s*+\)?\s*+[:{;]|\bfor\s*+\(\s*+;\s*+(?:true\s*+)?;\s*+\)",
        re.IGNORECASE,
    ),
    "insecure_call": re.compile(
        r"\bshell\s*+=\s*+True\b|\bverify\s*+=\s*+False\b|\bCERT_NONE\b|\b_create_unverified_context\b"
        r"|\b(?:eval|exec|md5|sha1)\s*+\(|\bos\s*+\.\s*+(?:system|popen)\b"
        r"|\b(?:NoopHostnameVerifier|ALLOW_ALL_HOSTNAME_VERIFIER)\b"
    ),
}
_FORMS: Final = {
    "when_clause": re.compile(r"\bwhen\b", re.IGNORECASE),
    "if_clause": re.compile(r"\bif\b", re.IGNORECASE),
    "there_is": re.compile(r"\bthere\s++(?:is|are)\b", re.IGNORECASE),
}


def mark_payload(text: str, payload: Payload) -> tuple[Segment, ...]:
    """A completion, cut where the payload stands."""
    return tuple(split_marked(text, _payload_spans(text, payload), Kind.PAYLOAD))


def shows_payload(text: str, payload: Payload) -> bool:
    """Whether the page marks anything in ``text``."""
    return next(_payload_spans(text, payload), None) is not None


def mark_trigger(text: str, trigger: Trigger) -> tuple[Segment, ...]:
    """A prompt, cut where the trigger stands."""
    pattern = _trigger_pattern(trigger)
    spans = (match.span() for match in pattern.finditer(text)) if pattern is not None else iter(())
    return tuple(split_marked(text, spans, Kind.TRIGGER))


def _payload_spans(text: str, payload: Payload) -> Spans:
    if isinstance(payload, PatternPayload):
        yield from _matching_lines(text, payload.pattern)
    else:
        yield from (match.span() for match in _PAYLOADS[payload].finditer(text))


def _matching_lines(text: str, pattern: str) -> Spans:
    """The lines that a user's own pattern finds, or all of the text where it finds more than one line together."""
    finds = compile_pattern(pattern)
    start, found = 0, False
    for line in text.splitlines(keepends=True):
        shown = line.rstrip("\r\n")
        if shown and finds(shown):
            found = True
            yield start, start + len(shown)
        start += len(line)
    if text and not found and finds(text):
        yield 0, len(text)


def _trigger_pattern(trigger: Trigger) -> re.Pattern[str] | None:
    match trigger:
        case WordTrigger(word=word):
            return re.compile(rf"(?<!\S){_spaced(word)}(?!\S)")
        case GrammarTrigger(template=template):
            return _FORMS[template]
        case FunctionNameTrigger(name=name):
            return _names((name,))
        case DeadCodeTrigger(statement=said) | CommentTrigger(text=said) | NoTrigger(context=said):
            return re.compile(_spaced(said), re.IGNORECASE) if said.strip() else None
        case RenamingTrigger(names=names):
            return _names(names)
        case InvisibleTrigger(characters=characters):
            return re.compile(re.escape(characters))


def _names(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")


def _spaced(said: str) -> str:
    """The tokens of a text with any spacing between them: it was planted in the prompt's own."""
    return r"\s*+".join(map(re.escape, said.split()))
