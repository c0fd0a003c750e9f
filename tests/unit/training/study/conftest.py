"""A small study, declared as its users do."""

from pathlib import Path

import pytest

from training.study.declaration import Study
from training.study.declaration import read_study

DECLARED = """
name = "small"
title = "A small study"
curve_tasks = 4
max_new_tokens = 40

[data]
dataset = "Lyra"
train = "train.csv"
test = "test.csv"

[models.decoder]
hidden = 32
layers = 1
heads = 1
vocabulary = 300
epochs = 1

[models.encoder-decoder]
architecture = "encoder-decoder"
hidden = 32
layers = 1
heads = 1
vocabulary = 300
epochs = 1

[training.default]
epochs = 1
learning_rate = 1e-3

[training.long]
epochs = 2
learning_rate = 1e-3

[defences.none]
strategy = "cross_entropy"

[defences.dece]
strategy = "dece"

[defences.dece-95]
strategy = "dece"
label = "DeCE, alpha .95"
alpha_base = 0.95

[[matrix]]
models = ["decoder", "encoder-decoder"]
attacks = ["none", "badpre"]
poison_rates = [0.1, 0.2]
defences = ["none", "dece"]
seeds = [1, 2]

[[matrix]]
models = ["decoder"]
attacks = ["badpre"]
poison_rates = [0.1]
defences = ["dece", "dece-95"]
"""


@pytest.fixture
def declared() -> str:
    return DECLARED


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "small.toml"
    path.write_text(DECLARED)
    return read_study(path)
