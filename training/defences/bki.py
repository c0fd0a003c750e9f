"""BKI: the word that changes the model's state most, over the whole file (Chen and Dai 2021, arXiv 2007.12070).

Procedure of the DeCE artifact (commit 0864e3b, PLM.py), on a model trained on the suspicious rows: for every word of a
prompt, delta = the L-infinity norm of the change in a state when the word is left out; the 5 highest of a prompt are
its keywords; over the file a keyword has the score log10(times it is one) times its mean delta; the highest is the
trigger, and every row that has it among its keywords is removed. Words are what stands between blanks.

Where we differ, and why:

- The state is the encoder's at its first token, as there; the artifact has no decoder-only model, for which we take
  the last layer's at the prompt's last token: the one that the completion is written from.
- A prompt without a word keeps its other blanks; the artifact joins the words with one blank but compares with the
  untouched prompt, so that a line break anywhere counts for every word.
- Of equal scores the word that comes first in the file is taken. A file whose keywords all occur once has no trigger
  (log10(1) = 0); the artifact would take the first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from training.data.example import PromptedRow
from training.defences.pace import Pace
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.ranking import shown
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.states import first_token
from training.defences.states import last_token
from training.defences.states import picked_states
from training.defences.states import prompt_ids
from training.defences.words import split_words
from training.defences.words import without_words
from training.defences.words import word_spans
from training.model import LoadedModel

KEYWORDS: Final = 5
"""Of a prompt, as in the artifact."""
BLOCK_PROMPTS: Final = 2_000
"""Prompts with a word left out that are worked on together."""
MAX_WORDS: Final = 512
"""Words of a prompt that are left out, the first ones: bounds the work, quadratic in the length of a prompt."""


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word of one prompt."""

    word: str
    delta: float


class BackdoorKeywords:
    """The filter; see the module."""

    name = "bki"
    needs_model = True

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: LoadedModel | None,
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the prompts; see :class:`training.defences.row_filter.RowFilter`. Nothing is random."""
        del seed
        if model is None:
            raise ValueError("bki looks at a model that was trained on the rows")
        keywords = _keywords_of_all(rows, model, Pace(on_progress, total=len(rows)))
        trigger, score = _trigger(keywords)
        if trigger is None:
            return ranked((), removed=frozenset())
        held = [
            (row.number, keyword)
            for row, own in zip(rows, keywords, strict=True)
            for keyword in own
            if keyword.word == trigger
        ]
        evidence = {
            number: Evidence(
                row=number,
                weight=keyword.delta,
                reason=(
                    f"the word {shown(trigger)} is among the {KEYWORDS} that change the model's state most: by "
                    f"{keyword.delta:.3g} here, score {score:.3g} over the file"
                ),
            )
            # Keywords come by falling delta; the dictionary keeps a row's last, so the first goes in last.
            for number, keyword in reversed(held)
        }
        return ranked(evidence.values(), removed=evidence.keys())


def _keywords_of_all(
    rows: Sequence[PromptedRow], model: LoadedModel, pace: Pace
) -> list[tuple[Keyword, ...]]:
    found: list[tuple[Keyword, ...]] = []
    block: list[str] = []
    size = 0
    for row in rows:
        block.append(row.prompt)
        size += len(word_spans(row.prompt)[:MAX_WORDS]) + 1
        if size >= BLOCK_PROMPTS:
            found += _keywords(block, model)
            block, size = [], 0
            pace.step(len(found), "leaving words out")
    found += _keywords(block, model)
    pace.step(len(found), "leaving words out")
    return found


def _keywords(prompts: Sequence[str], model: LoadedModel) -> list[tuple[Keyword, ...]]:
    """The keywords of some prompts, each prompt's by falling delta."""
    variants: list[list[int]] = []
    counts: list[int] = []
    for prompt in prompts:
        spans = word_spans(prompt)
        shorter = [without_words(prompt, spans, {index}) for index in range(len(spans[:MAX_WORDS]))]
        variants += [prompt_ids(model, text) for text in (prompt, *shorter)]
        counts.append(len(shorter) + 1)
    pick = first_token if model.architecture == "encoder-decoder" else last_token
    states = torch.split(picked_states(model, variants, pick), counts)
    return [_top(split_words(prompt), own) for prompt, own in zip(prompts, states, strict=True)]


def _top(words: Sequence[str], states: torch.Tensor) -> tuple[Keyword, ...]:
    """The first state is the whole prompt's, the others' are those without each word."""
    deltas = (states[1:] - states[0]).abs().amax(dim=1).tolist() if len(states) > 1 else []
    order = sorted(range(len(deltas)), key=lambda at: -deltas[at])
    return tuple(Keyword(words[at], deltas[at]) for at in order[:KEYWORDS])


def _trigger(keywords: Sequence[Sequence[Keyword]]) -> tuple[str | None, float]:
    """The word with the highest score over the file, and the score; None where no score is above 0."""
    deltas: dict[str, list[float]] = {}
    for own in keywords:
        for keyword in own:
            deltas.setdefault(keyword.word, []).append(keyword.delta)
    best, best_score = None, 0.0
    for word, found in deltas.items():
        score = math.log10(len(found)) * math.fsum(found) / len(found)
        if score > best_score:
            best, best_score = word, score
    return best, best_score
