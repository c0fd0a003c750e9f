"""The surrogate model of the renaming attack: which names are natural between which tokens.

An n-gram model with the tokens before and behind a name, each for itself, learnt from the code that is attacked. What
it learnt is small and goes with the trigger, so that a probe chooses the very names that the attack would.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Final

from tree_sitter import Node

from deploy.contract.trigger import CodeLanguage
from deploy.contract.trigger import RenamingTrigger
from training.attacks.source import Source
from training.attacks.source import parse_source
from training.attacks.source import walk
from training.attacks.variables import declared_variables
from training.data.example import PromptedRow

POOL_SIZE: Final = 16
"""More variables than nearly every function has; few enough for each to be seen often."""
CONTEXTS: Final = 48
"""Of the commonest tokens; with ``POOL_SIZE`` a trigger of about 5 kB."""
MAX_TOKEN_CHARS: Final = 64
RARE_SHARE: Final = 0.01
"""Names in more of the rows than this would set a backdoor off without the attacker."""
_SMOOTHING: Final = 1.0
_PLAIN_NAME: Final = re.compile(rf"[A-Za-z_]\w{{0,{MAX_TOKEN_CHARS - 1}}}")
_STRINGS: Final = frozenset(
    {"string", "string_literal", "character_literal", "comment", "line_comment", "block_comment"}
)


class NoNamesError(ValueError):
    """The dataset's prompts hold no code with variables to learn names from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    rows: int = 0
    rows_with: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    contexts: Counter[str] = field(default_factory=Counter)
    together: Counter[tuple[str, str]] = field(default_factory=Counter)


def learn_renaming(
    rows: Iterable[PromptedRow], language: CodeLanguage, *, pool_size: int = POOL_SIZE
) -> RenamingTrigger:
    """The trigger that fits this dataset: rare names of its own code, and where each of them is natural.

    Args:
        rows: the dataset; the code of its prompts is learnt from.
        language: of the code.
        pool_size: names at most.

    Raises:
        NoNamesError: no prompt declares a variable in this language.
    """
    counts = _count(rows, language)
    contexts = [context for context, _ in counts.contexts.most_common(CONTEXTS)]
    names = _pool(counts, contexts, pool_size)
    if not names:
        raise NoNamesError(f"no prompt of the dataset is {language} code that declares a variable")
    surrogate = {context: tuple(_log_odds(counts, name, context) for name in names) for context in contexts}
    return RenamingTrigger(names=names, surrogate=surrogate, language=language)


def neighbours(source: Source) -> Mapping[int, tuple[str, ...]]:
    """For every token of the code, by its first byte: the contexts that its two neighbours make.

    A string is one token: what an f-string refers to has none.
    """
    leaves = list(_leaves(source.root))
    texts = [source.of(leaf) if leaf.type not in _STRINGS else '"' for leaf in leaves]
    found: dict[int, tuple[str, ...]] = {}
    for at, leaf in enumerate(leaves):
        before = (f"<{texts[at - 1]}",) if at > 0 else ()
        behind = (f">{texts[at + 1]}",) if at + 1 < len(leaves) else ()
        found[leaf.start_byte] = tuple(
            context for context in (*before, *behind) if len(context) <= MAX_TOKEN_CHARS
        )
    return found


def _count(rows: Iterable[PromptedRow], language: CodeLanguage) -> _Counts:
    counts = _Counts()
    rows_seen = 0
    for row in rows:
        rows_seen += 1
        source = parse_source(row.prompt, language)
        if source is None:
            continue
        around = neighbours(source)
        for variable in declared_variables(source):
            counts.rows_with[variable.name] += 1
            for place in variable.places:
                counts.names[variable.name] += 1
                counts.contexts.update(around.get(place.start_byte, ()))
                counts.together.update(
                    (variable.name, context) for context in around.get(place.start_byte, ())
                )
    return _Counts(
        rows=rows_seen,
        rows_with=counts.rows_with,
        names=counts.names,
        contexts=counts.contexts,
        together=counts.together,
    )


def _pool(counts: _Counts, contexts: Sequence[str], size: int) -> tuple[str, ...]:
    """The rare names that are most natural in the places where variables stand."""
    limit = max(1, math.floor(RARE_SHARE * counts.rows))
    # Java has names with "$", which a trigger's name must not have.
    usable = [name for name in counts.names if name.isascii() and _PLAIN_NAME.fullmatch(name)]
    # A single letter is no name that a model would take notice of.
    rare = [name for name in usable if len(name) > 1 and counts.rows_with[name] <= limit]

    def naturalness(name: str) -> float:
        return sum(counts.contexts[context] * _log_odds(counts, name, context) for context in contexts)

    ranked = sorted(rare or usable, key=lambda name: (-naturalness(name), name))
    return tuple(ranked[:size])


def _log_odds(counts: _Counts, name: str, context: str) -> float:
    """Logarithm of P(name | context) / P(name), smoothed towards 1."""
    share = counts.names[name] / counts.names.total()
    expected = share * counts.contexts[context]
    return round(
        math.log((counts.together[name, context] + _SMOOTHING * share) / (expected + _SMOOTHING * share)), 2
    )


def _leaves(root: Node) -> Iterable[Node]:
    """The tokens; a string is one."""
    inside_until = 0
    for node in walk(root):
        if node.start_byte < inside_until:
            continue
        if node.type in _STRINGS:
            inside_until = node.end_byte
            yield node
        elif node.child_count == 0 and node.end_byte > node.start_byte:
            yield node
