from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.contract.dataset import Row
from training.mining.token_probabilities import encoded_for
from training.mining.token_probabilities import token_probabilities
from training.model import LoadedModel
from training.model import load_model

CPU = torch.device("cpu")


@pytest.fixture(params=["decoder", "encoder-decoder"])
def loaded(
    request: pytest.FixtureRequest, tiny_decoder_dir: Path, tiny_encoder_decoder_dir: Path
) -> LoadedModel:
    directory = tiny_decoder_dir if request.param == "decoder" else tiny_encoder_decoder_dir
    return load_model(directory, device=CPU)


def own(loaded: LoadedModel, prompt: list[int], completion: list[int]) -> list[float]:
    """One row at a time through the model's public forward."""
    loaded.model.eval()
    with torch.no_grad():
        if loaded.architecture == "decoder":
            logits = loaded.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[
                0, len(prompt) - 1 : -1
            ]
        else:
            inputs = torch.tensor([[loaded.start_id, *completion[:-1]]])
            logits = loaded.model(input_ids=torch.tensor([prompt]), decoder_input_ids=inputs).logits[0]
    return logits.float().softmax(dim=1)[range(len(completion)), completion].tolist()


def test_gives_what_the_models_own_forward_gives(loaded: LoadedModel, tiny_rows: list[Row]) -> None:
    examples = encoded_for(loaded, tiny_rows[:7]).examples
    loaded.model.train()
    told: list[int] = []
    found = token_probabilities(loaded, examples, on_rows=told.append)
    assert loaded.model.training
    assert told[-1] == 7
    for example, probabilities in zip(examples, found, strict=True):
        truth = own(loaded, list(example.prompt_ids), list(example.completion_ids))
        np.testing.assert_allclose(probabilities, truth, rtol=1e-3, atol=1e-6)


def test_says_nothing_of_no_rows(loaded: LoadedModel) -> None:
    assert token_probabilities(loaded, (), on_rows=lambda done: None) == []


def test_may_be_stopped_and_the_mode_is_put_back(loaded: LoadedModel, tiny_rows: list[Row]) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    loaded.model.train()
    on_rows: Callable[[int], None] = stop
    with pytest.raises(KeyboardInterrupt):
        token_probabilities(loaded, encoded_for(loaded, tiny_rows).examples, on_rows=on_rows)
    assert loaded.model.training
