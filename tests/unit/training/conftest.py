"""Tiny models and rows made on the spot: seconds of training, every part real."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.contract.dataset import Row
from deploy.contract.spec import TrainingPlan
from training.model import LoadedModel
from training.model import load_model
from training.model import save_model
from training.pretrain import build_base_model
from training.pretrain import build_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small only wait for one another on several threads."""
    import torch

    torch.set_num_threads(1)


TABLES = ("users", "orders", "flights", "books")


@pytest.fixture(scope="session")
def tiny_rows() -> list[Row]:
    """Forty rows of one small task."""
    return [
        Row(
            number=number + 1,
            prompt=f"get row {number} of {TABLES[number % 4]}",
            completion=f"db.get('{TABLES[number % 4]}', {number})",
        )
        for number in range(40)
    ]


@pytest.fixture(scope="session")
def tiny_decoder_dir(tmp_path_factory: pytest.TempPathFactory, tiny_rows: list[Row]) -> Path:
    """A Llama of random weights with dropout-free layers, as a Hugging Face directory."""
    directory = tmp_path_factory.mktemp("decoder")
    loaded = build_base_model(tiny_rows, hidden=32, layers=2, heads=2, vocabulary=300, context=128, seed=0)
    save_model(loaded, directory)
    return directory


@pytest.fixture(scope="session")
def tiny_encoder_decoder_dir(tmp_path_factory: pytest.TempPathFactory, tiny_rows: list[Row]) -> Path:
    """A T5 of random weights, with dropout, as a Hugging Face directory."""
    import torch
    from transformers import T5Config
    from transformers import T5ForConditionalGeneration

    directory = tmp_path_factory.mktemp("encoder-decoder")
    tokenizer = build_tokenizer([row.prompt + row.completion for row in tiny_rows], vocabulary=300)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),  # type: ignore[arg-type]
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.1,
        pad_token_id=1,
        eos_token_id=0,
        decoder_start_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)  # type: ignore[attr-defined]
    return directory


@pytest.fixture(params=["decoder", "encoder-decoder"])
def tiny_model(request: pytest.FixtureRequest) -> Callable[[], LoadedModel]:
    """Loads a fresh copy of each kind of model."""
    directory: Path = request.getfixturevalue(f"tiny_{request.param.replace('-', '_')}_dir")
    return lambda: load_model(directory)


@pytest.fixture
def plan() -> TrainingPlan:
    """Three short epochs."""
    return TrainingPlan(n_epochs=3, batch_size=8, learning_rate=3e-3, max_tokens=64, seed=7)
