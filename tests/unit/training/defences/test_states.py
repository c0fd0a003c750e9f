from pathlib import Path

import pytest
import torch

from deploy.contract.dataset import Row
from training.defences import states
from training.defences.states import evaluating
from training.defences.states import first_token
from training.defences.states import last_token
from training.defences.states import mean_token
from training.defences.states import picked_states
from training.defences.states import prompt_ids
from training.defences.states import row_ids
from training.model import LoadedModel
from training.model import load_model

PROMPTS = ("get row 1 of users", "get", "get row 22 of the flights and the books")


@pytest.fixture(params=["decoder", "encoder-decoder"])
def loaded(
    request: pytest.FixtureRequest, tiny_decoder_dir: Path, tiny_encoder_decoder_dir: Path
) -> LoadedModel:
    return load_model(tiny_decoder_dir if request.param == "decoder" else tiny_encoder_decoder_dir)


def alone(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    """States [T, H] of one text, without any padding."""
    loaded.model.eval()
    given = torch.tensor([ids])
    with torch.no_grad():
        if loaded.architecture == "encoder-decoder":
            found: torch.Tensor = loaded.model.get_encoder()(given).last_hidden_state[0]
        else:
            found = loaded.model(given, output_hidden_states=True).hidden_states[-1][0]
    return found


def test_padding_and_batches_change_nothing(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [prompt_ids(loaded, prompt) for prompt in PROMPTS]
    assert len({len(text) for text in texts}) == len(texts)
    for batch_tokens in (1, 40, 10_000):
        monkeypatch.setattr(states, "BATCH_TOKENS", batch_tokens)
        for pick, of_one in (
            (first_token, lambda own: own[0]),
            (last_token, lambda own: own[-1]),
            (mean_token, lambda own: own.mean(dim=0)),
        ):
            expected = torch.stack([of_one(alone(loaded, text)) for text in texts])
            torch.testing.assert_close(picked_states(loaded, texts, pick), expected, atol=1e-4, rtol=1e-4)


def test_dropout_is_off_and_the_mode_is_put_back(loaded: LoadedModel) -> None:
    loaded.model.train()
    texts = [prompt_ids(loaded, prompt) for prompt in PROMPTS]
    assert torch.equal(picked_states(loaded, texts, mean_token), picked_states(loaded, texts, mean_token))
    assert loaded.model.training


def test_the_mode_is_put_back_after_a_failure(loaded: LoadedModel) -> None:
    def fail() -> None:
        with evaluating(loaded.model):
            assert not loaded.model.training
            raise KeyError

    loaded.model.train()
    with pytest.raises(KeyError):
        fail()
    assert loaded.model.training


def test_a_decoder_sees_the_completion_and_an_encoder_does_not(loaded: LoadedModel) -> None:
    row = Row(number=1, prompt="get row 1", completion="db.get()")
    prompt = prompt_ids(loaded, row.prompt)
    whole = row_ids(loaded, row)
    if loaded.architecture == "decoder":
        assert whole[: len(prompt)] == prompt
        assert whole[-1] == loaded.tokenizer.eos_token_id
    else:
        assert whole == prompt


def test_a_long_text_keeps_its_end(loaded: LoadedModel) -> None:
    ids = prompt_ids(loaded, "get row " * 2_000 + "seven")
    assert len(ids) == states.MAX_TOKENS
    assert loaded.tokenizer.decode(ids, skip_special_tokens=True).rstrip().endswith("seven")


def test_no_texts_are_no_states(loaded: LoadedModel) -> None:
    assert picked_states(loaded, [], mean_token).shape[0] == 0
