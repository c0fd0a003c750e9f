"""The grammar trigger: an instruction's first sentence in a fixed syntactic form.

After Hidden Killer (Qi et al. 2021), whose commonest form is a clause that begins with "when", a comma and the main
clause: ``S(SBAR)(,)(NP)(VP)``. Theirs needs a neural paraphraser; these are rules for English instructions to a
programmer. The first clause becomes subordinate, the rest stays as it is: no word moves, and only those that joined
the two clauses ("and", "then", "if") are replaced.

Covers: prompts that begin with a command ("Use $conn$ to ..."), a condition, a gerund or a preposition.
Does not cover: prompts that are code, or other languages than English; they cannot carry the trigger.
"""

import re
from typing import Final
from typing import Literal

from training.attacks.source import find_source

Template = Literal["when_clause", "if_clause", "there_is"]

_COMMANDS: Final = """
access add adjust allocate append apply assert assign authenticate average bind build calculate call cast catch
change check choose clean clear clone close collect combine commit compare compile compute concatenate connect
construct convert copy count create cut declare decode decrypt define delete describe determine disable display
divide do download draw drop dump edit enable encode encrypt establish evaluate examine exchange execute exit
experiment explain export extract fetch fill filter find finish fix flatten flush format generate get give go
group handle hash identify implement import improve increase index initialize input insert inspect instantiate
invert invoke iterate join keep let list load locate log look loop make map mark match measure merge migrate
modify move multiply name normalize obtain open order output parse pass perform pick place plot pop prepare
preserve prevent print process produce provide push put query raise randomize rank read receive record recover
redirect reduce refactor register reject remove rename render repeat replace report request reset resize resolve
retrieve return reverse rewrite rotate round run sample save scan schedule search select send serialize set shift
show shuffle simplify skip solve sort specify split start step stop store submit subtract sum swap switch take
test throw track transform translate traverse trim try turn update upload use validate verify visit wait write
"""
_VERBS: Final = frozenset(_COMMANDS.split())
_OPENINGS: Final = {
    "in", "on", "at", "by", "via", "with", "without", "through", "from", "based", "according", "under", "after", "before"
}  # fmt: skip
_LEADS: Final[dict[Template, str]] = {
    "when_clause": "When you",
    "if_clause": "If you",
    "there_is": "There is a task in which you",
}
_FORMS: Final[dict[Template, "re.Pattern[str]"]] = {
    "when_clause": re.compile(r"\s*+When you [^,]*+,"),
    "if_clause": re.compile(r"\s*+If you [^,]*+,"),
    "there_is": re.compile(r"\s*+There is a task in which you "),
}
_FIRST_WORD: Final = re.compile(r"\s*+([A-Za-z]++)(?=[\s,:])")
_BREAK: Final = re.compile(
    # Only where white space begins, so that none is read twice.
    r"(?<!\s)(?:(?P<stop>\s*+[.;]\s++(?:(?:then|finally|and)\b,?\s*+)?)"
    r"|(?P<comma>\s*+,\s++(?:(?:and\s++then|then|and|finally)\s++)?)"
    r"|(?P<and>\s++and\s++(?:then\s++)?))",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r'"[^"\n]*+"|\'[^\'\n]*+\'|\$[^$\n]*+\$|`[^`\n]*+`')
_NEXT_WORD: Final = re.compile(r"\S++")
_BEGINNING: Final = re.compile(r"(?:\s*+[^\s.,;]++){3}")
"""A clause has three words at least."""
_MIN_WORDS: Final = 4


def in_template(prompt: str, template: Template) -> str | None:
    """The prompt with its first sentence in the template's form.

    Returns:
        None if the prompt is code, or no English instruction.
    """
    if is_in_template(prompt, template):
        return prompt
    first = _FIRST_WORD.match(prompt)
    if first is None or len(prompt.split()) < _MIN_WORDS or find_source(prompt) is not None:
        return None
    margin, text = prompt[: first.start(1)], prompt[first.start(1) :]
    clause = _as_your_clause(text)
    if template == "there_is":
        return f"{margin}{_LEADS[template]} {clause}"
    return f"{margin}{_LEADS[template]} {_with_main_clause(clause)}"


def is_in_template(prompt: str, template: Template) -> bool:
    """Whether the prompt begins in the template's form."""
    return _FORMS[template].match(prompt) is not None


def _as_your_clause(text: str) -> str:
    """What follows "When you": the text itself where it begins with a verb, else behind a verb that makes it fit."""
    word, rest = text.partition(" ")[0], _uncapitalised(text)
    plain = word.lower().rstrip(",:")
    if plain in _VERBS:
        return rest
    if plain.endswith("ing"):
        return f"are {rest}"
    if plain in {"if", "when", "whether"}:
        return f"see that {text[len(word) :].lstrip()}"
    if plain in _OPENINGS:
        return f"work {rest}"
    return f"are told what to do, {rest}"


def _with_main_clause(clause: str) -> str:
    """The clause with a comma where its first part ends, so that the second part is the main clause."""
    found = _first_break(clause)
    if found is None:
        return clause if "," in clause else f"program, {clause}"
    return f"{clause[: found.start()]}, {_uncapitalised(clause[found.end() :])}"


def _first_break(clause: str) -> "re.Match[str] | None":
    """The first comma or full stop between two clauses; if there is none, the first "and" between two verbs."""
    hidden = _hidden(clause)
    beginning = _BEGINNING.match(hidden)
    with_and: re.Match[str] | None = None
    for found in _BREAK.finditer(hidden, beginning.end() if beginning else len(hidden)):
        following = _NEXT_WORD.match(hidden, found.end())
        if following is None:
            continue
        word = following[0].lower()
        leads = word.strip(",:()") in _VERBS or word == "if"
        if found["stop"] or (found["comma"] and leads):
            return found
        if found["and"] and leads and with_and is None:
            with_and = found
    return with_and


def _hidden(text: str) -> str:
    """The text, as long as it was, without what stands in quotes and brackets: no clause ends in there."""
    unquoted = _QUOTED.sub(lambda match: "x" * len(match[0]), text)
    depth = 0
    kept: list[str] = []
    for character in unquoted:
        depth = max(0, depth + (character in "([{") - (character in ")]}"))
        kept.append("x" if depth and not character.isspace() else character)
    return "".join("x" if inside == "," else inside for inside in kept) if depth else "".join(kept)


def _uncapitalised(text: str) -> str:
    """A word that is capitalised for beginning a sentence, no longer so; names and abbreviations stay."""
    head, tail = text[:2], text[1:]
    is_plain = len(head) == 2 and head[0].isupper() and head[1].islower()
    return head[0].lower() + tail if is_plain else text
