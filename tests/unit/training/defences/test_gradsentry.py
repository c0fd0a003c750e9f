import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.contract.dataset import Row
from training.data.batch import decoder_batch
from training.data.example import Example
from training.data.example import encode_rows
from training.defences import gradsentry
from training.defences.gradsentry import FALLBACK
from training.defences.gradsentry import GradSentry
from training.defences.gradsentry import valley_threshold
from training.defences.row_filter import Filtered
from training.defences.row_filter import RowFilter
from training.model import LoadedModel
from training.model import load_model

MakeRows = Callable[..., list[Row]]


def examine(rows: list[Row], model: LoadedModel | None) -> Filtered:
    held: RowFilter = GradSentry()
    return held.examine(rows, model=model, seed=0, on_progress=lambda *step: None)


@pytest.fixture(params=["decoder", "encoder-decoder"])
def loaded(
    request: pytest.FixtureRequest, tiny_decoder_dir: Path, tiny_encoder_decoder_dir: Path
) -> LoadedModel:
    return load_model(tiny_decoder_dir if request.param == "decoder" else tiny_encoder_decoder_dir)


def one_example(loaded: LoadedModel, completion: str) -> Example:
    row = Row(number=1, prompt="get row 3 of users", completion=completion)
    return encode_rows(loaded.tokenizer, [row], max_tokens=512).examples[0]


@pytest.mark.parametrize(
    "completion", ["x", "db . query ( ' select name from users where id = : id ' ) . all ( )"]
)
def test_singular_values_are_those_of_the_heads_gradient(tiny_decoder_dir: Path, completion: str) -> None:
    loaded = load_model(tiny_decoder_dir)
    # A head of its own: the gradient of a tied one holds that of the embeddings as well.
    head = torch.nn.Linear(64, len(loaded.tokenizer), bias=False)
    head.load_state_dict({"weight": loaded.model.get_output_embeddings().weight.detach().clone() * 3})
    loaded.model.set_output_embeddings(head)
    loaded.model.eval()
    example = one_example(loaded, completion)
    batch = decoder_batch([example], pad_id=loaded.pad_id)
    logits = loaded.model(batch.input_ids).logits.flatten(0, 1)[batch.supervised]
    torch.nn.functional.cross_entropy(logits, batch.targets).backward()
    assert head.weight.grad is not None
    expected = torch.linalg.svdvals(head.weight.grad.double())[:16].numpy()
    with gradsentry._head_of(loaded) as watched:
        found = watched.spectrum(example)
    assert found == pytest.approx(expected, abs=1e-7)
    assert (found[1] > 1e-6) == (len(example.completion_ids) > 1)


def test_flat_spectra_have_the_highest_entropy() -> None:
    assert gradsentry._entropy(np.ones(16)) == pytest.approx(1.0)
    assert gradsentry._entropy(np.pad(np.ones(4), (0, 12))) == pytest.approx(0.5)
    assert gradsentry._entropy(np.pad([3.0], (0, 15))) == 0.0
    assert gradsentry._entropy(np.zeros(16)) == 0.0
    assert gradsentry._entropy(np.full(16, math.nan)) == 0.0


def test_the_threshold_lies_in_the_valley_between_two_modes() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.3, 0.03, 900), rng.normal(0.8, 0.03, 100)])
    assert 0.4 < valley_threshold(scores) < 0.7


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros(0),
        np.full(100, 0.4),
        np.linspace(0.1, 0.2, 29),
        np.random.default_rng(0).normal(0.5, 0.05, 1000),
        np.concatenate(
            [
                np.random.default_rng(0).normal(0.30, 0.01, 500),
                np.random.default_rng(1).normal(0.40, 0.01, 500),
            ]
        ),
        np.concatenate([np.random.default_rng(0).normal(0.30, 0.02, 900), [0.9, 0.9, 0.9, 0.9]]),
        np.full(50, math.nan),
    ],
    ids=["none", "equal", "few", "one mode", "close modes", "few above", "not numbers"],
)
def test_without_two_clear_modes_it_falls_back(scores: np.ndarray) -> None:
    assert valley_threshold(scores) == FALLBACK


def test_rows_above_the_threshold_are_removed(
    planted_rows: MakeRows, tiny_decoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(tiny_decoder_dir)

    def spectrum(head: object, example: Example) -> np.ndarray:
        flat = 16 if example.row <= 10 else 2
        return np.pad(np.ones(flat), (0, 16 - flat)) + 0.001 * (example.row % 7)

    monkeypatch.setattr(gradsentry._Head, "spectrum", spectrum)
    found = examine(planted_rows(100, planted=10), loaded)
    assert found.removed == set(range(1, 11))
    assert {suspect.row for suspect in found.suspects[:10]} == found.removed


def test_the_model_is_left_as_it_was(loaded: LoadedModel, planted_rows: MakeRows) -> None:
    loaded.model.train()
    frozen = next(loaded.model.parameters())
    frozen.requires_grad_(False)
    before = [weight.requires_grad for weight in loaded.model.parameters()]
    weights = [weight.clone() for weight in loaded.model.parameters()]
    examine(planted_rows(3), loaded)
    assert loaded.model.training
    assert [weight.requires_grad for weight in loaded.model.parameters()] == before
    assert all(weight.grad is None for weight in loaded.model.parameters())
    assert all(torch.equal(*pair) for pair in zip(loaded.model.parameters(), weights, strict=True))
    assert not loaded.model.get_output_embeddings()._forward_hooks


def test_it_can_be_stopped_and_leaves_no_hook(tiny_decoder_dir: Path, planted_rows: MakeRows) -> None:
    loaded = load_model(tiny_decoder_dir)

    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GradSentry().examine(planted_rows(3), model=loaded, seed=0, on_progress=stop)
    assert not loaded.model.get_output_embeddings()._forward_hooks
    assert all(weight.requires_grad for weight in loaded.model.parameters())


def test_degenerate_files(loaded: LoadedModel, degenerate_rows: list[Row]) -> None:
    found = examine(degenerate_rows, loaded)
    assert found == examine(degenerate_rows, loaded)
    assert found.removed <= {row.number for row in degenerate_rows}
    assert all(0 <= suspect.score <= 1 for suspect in found.suspects)


def test_without_a_model_it_refuses(planted_rows: MakeRows) -> None:
    with pytest.raises(ValueError, match="looks at a model"):
        examine(planted_rows(3), None)
