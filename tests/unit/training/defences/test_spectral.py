from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.contract.dataset import Row
from training.defences import spectral
from training.defences.row_filter import Filtered
from training.defences.row_filter import RowFilter
from training.defences.spectral import SpectralSignatures
from training.model import LoadedModel
from training.model import load_model

MakeRows = Callable[..., list[Row]]


def examine(rows: list[Row], model: LoadedModel | None, **constants: float) -> Filtered:
    held: RowFilter = SpectralSignatures(**constants)  # type: ignore[arg-type]
    return held.examine(rows, model=model, seed=0, on_progress=lambda *step: None)


@pytest.fixture(params=["decoder", "encoder-decoder"])
def loaded(
    request: pytest.FixtureRequest, tiny_decoder_dir: Path, tiny_encoder_decoder_dir: Path
) -> LoadedModel:
    return load_model(tiny_decoder_dir if request.param == "decoder" else tiny_encoder_decoder_dir)


def made_representations(rows: int, planted: int) -> torch.Tensor:
    """Noise, with the planted rows moved along one direction."""
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(rows, 16, generator=generator, dtype=torch.float64)
    found[:planted] += 8.0 * torch.ones(16, dtype=torch.float64) / 4.0
    return found


@pytest.mark.parametrize("vectors", [1, 2, 5, 16, 99])
def test_scores_are_the_projections_on_the_singular_vectors(vectors: int) -> None:
    made = made_representations(60, 5)
    centred = (made - made.mean(dim=0)).numpy()
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    expected = np.linalg.norm(centred @ right[:vectors].T, axis=1)
    assert spectral._scores(made, vectors) == pytest.approx(expected.tolist())


def test_rows_along_the_main_axis_are_removed(
    planted_rows: MakeRows, tiny_decoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = planted_rows(400, planted=20)
    monkeypatch.setattr(spectral, "_representations", lambda rows, model, pace: made_representations(400, 20))
    found = examine(rows, load_model(tiny_decoder_dir))
    assert len(found.removed) == 30  # 1.5 * 5 % of 400
    assert set(range(1, 21)) <= found.removed
    assert {suspect.row for suspect in found.suspects[:20]} == set(range(1, 21))


def test_the_expected_share_says_how_many_go(loaded: LoadedModel, planted_rows: MakeRows) -> None:
    rows = planted_rows(40)
    assert len(examine(rows, loaded, expected_share=0.1).removed) == 6
    assert len(examine(rows, loaded, expected_share=0.9).removed) <= 40
    assert examine(rows, loaded, expected_share=0.001).removed == frozenset()


def test_identical_rows_are_not_told_apart(loaded: LoadedModel) -> None:
    rows = [Row(number=n, prompt="get the rows", completion="x = 1") for n in range(1, 50)]
    assert examine(rows, loaded) == Filtered(suspects=(), removed=frozenset())


def test_degenerate_files(loaded: LoadedModel, degenerate_rows: list[Row]) -> None:
    found = examine(degenerate_rows, loaded)
    assert found == examine(degenerate_rows, loaded)
    assert len(found.removed) <= 0.075 * len(degenerate_rows)
    assert all(0 <= suspect.score <= 1 for suspect in found.suspects)


def test_without_a_model_it_refuses(planted_rows: MakeRows) -> None:
    with pytest.raises(ValueError, match="looks at a model"):
        examine(planted_rows(3), None)


@pytest.mark.parametrize("bad", [{"vectors": 0}, {"expected_share": 0.0}, {"expected_share": 1.0}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        SpectralSignatures(**bad)  # type: ignore[arg-type]
