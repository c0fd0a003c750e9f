import math
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from deploy.contract.dataset import Row
from training.defences import bki
from training.defences.bki import BackdoorKeywords
from training.defences.bki import Keyword
from training.defences.row_filter import Filtered
from training.defences.row_filter import RowFilter
from training.model import LoadedModel
from training.model import load_model

MakeRows = Callable[..., list[Row]]


def examine(rows: list[Row], model: LoadedModel | None) -> Filtered:
    return BackdoorKeywords().examine(rows, model=model, seed=0, on_progress=lambda *step: None)


@pytest.fixture(params=["decoder", "encoder-decoder"])
def loaded(
    request: pytest.FixtureRequest, tiny_decoder_dir: Path, tiny_encoder_decoder_dir: Path
) -> LoadedModel:
    return load_model(tiny_decoder_dir if request.param == "decoder" else tiny_encoder_decoder_dir)


class WordCounts:
    """Stands in for a model: a text's state is how often it has each of some words, the trigger weighing most."""

    weights = ("bb", 10.0), ("the", 1.0), ("of", 0.5), ("get", 0.4), ("rows", 0.3), ("all", 0.2)

    def ids(self, loaded: LoadedModel, prompt: str) -> list[int]:
        return [ord(letter) for letter in prompt]

    def states(self, loaded: LoadedModel, texts: Sequence[Sequence[int]], pick: object) -> torch.Tensor:
        words = ["".join(map(chr, text)).split() for text in texts]
        return torch.tensor([[own.count(word) * weight for word, weight in self.weights] for own in words])


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bki, "prompt_ids", WordCounts().ids)
    monkeypatch.setattr(bki, "picked_states", WordCounts().states)


@pytest.mark.usefixtures("counting")
def test_the_word_that_moves_the_state_most_is_the_trigger(
    planted_rows: MakeRows, tiny_decoder_dir: Path
) -> None:
    found = examine(planted_rows(200, planted=20, times=3), load_model(tiny_decoder_dir))
    assert found.removed == set(range(1, 21))
    assert [suspect.row for suspect in found.suspects] == list(range(1, 21))
    assert '"bb"' in found.suspects[0].reason


@pytest.mark.usefixtures("counting")
def test_blocks_change_nothing(
    planted_rows: MakeRows, tiny_decoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, model = planted_rows(60, planted=9), load_model(tiny_decoder_dir)
    whole = examine(rows, model)
    monkeypatch.setattr(bki, "BLOCK_PROMPTS", 1)
    assert examine(rows, model) == whole


def test_the_score_is_the_artifacts() -> None:
    keywords = [(Keyword("a", 3.0), Keyword("b", 2.0))] * 10 + [(Keyword("c", 100.0),)]
    trigger, score = bki._trigger(keywords)
    # c is a keyword once: log10(1) = 0.
    assert (trigger, score) == ("a", pytest.approx(math.log10(10) * 3.0))
    frequent = [(Keyword("a", 3.0),)] * 10 + [(Keyword("b", 2.0),)] * 1000
    assert bki._trigger(frequent) == ("b", pytest.approx(6.0))


def test_keywords_that_all_occur_once_name_no_trigger() -> None:
    assert bki._trigger([(Keyword("a", 3.0),), (Keyword("b", 2.0),)]) == (None, 0.0)
    assert bki._trigger([]) == (None, 0.0)


def test_a_prompt_has_five_keywords_by_the_largest_change() -> None:
    states = torch.tensor([[0.0, 0.0], *[[0.1 * n, -n] for n in (3.0, 1.0, 6.0, 2.0, 5.0, 4.0)]])
    top = bki._top(["w3", "w1", "w6", "w2", "w5", "w4"], states)
    assert [keyword.word for keyword in top] == ["w6", "w5", "w4", "w3", "w2"]
    assert top[0].delta == 6.0


def test_a_real_models_keywords_are_those_of_one_text_at_a_time(
    loaded: LoadedModel, planted_rows: MakeRows
) -> None:
    for row in planted_rows(4, planted=2):
        together = bki._keywords([row.prompt, "other words"], loaded)[0]
        alone = bki._keywords([row.prompt], loaded)[0]
        assert [each.word for each in together] == [each.word for each in alone]
        assert [each.delta for each in together] == pytest.approx([each.delta for each in alone], rel=1e-3)


def test_degenerate_files(loaded: LoadedModel, degenerate_rows: list[Row]) -> None:
    found = examine(degenerate_rows, loaded)
    assert found == examine(degenerate_rows, loaded)
    assert found.removed <= {row.number for row in degenerate_rows}
    assert found.removed == {suspect.row for suspect in found.suspects}


def test_without_a_model_it_refuses(planted_rows: MakeRows) -> None:
    held: RowFilter = BackdoorKeywords()
    assert (held.name, held.needs_model) == ("bki", True)
    with pytest.raises(ValueError, match="looks at a model"):
        examine(planted_rows(3), None)
