"""Loading models: what the library only warns about is refused here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from deploy.contract.dataset import Row
from training.data.batch import IGNORED
from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.example import encode_rows
from training.errors import InvalidInput
from training.model import LoadedModel
from training.model import SupervisedHead
from training.model import load_model
from training.model import save_model


@pytest.fixture
def copy(tiny_decoder_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_decoder_dir, tmp_path / "model"))


def test_missing_weights_are_refused_by_name(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(copy)


def test_a_tokenizer_without_an_end_is_refused(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="end-of-sequence"):
        load_model(copy)


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load_model(tmp_path)


def test_saved_and_loaded_again_it_is_the_same(tiny_model: Callable[[], LoadedModel], tmp_path: Path) -> None:
    loaded = tiny_model()
    save_model(loaded, tmp_path)
    again = load_model(tmp_path)
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    assert again.tokenizer.encode("get row 1") == loaded.tokenizer.encode("get row 1")


@pytest.mark.parametrize("scaled", [False, True])
def test_the_head_over_supervised_positions_gives_the_models_own_logits(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_model()
    loaded.model.eval()
    examples = encode_rows(loaded.tokenizer, tiny_rows[:4], max_tokens=64).examples
    if loaded.architecture == "decoder":
        batch = decoder_batch(examples, pad_id=loaded.pad_id)
    else:
        batch = encoder_decoder_batch(examples, pad_id=loaded.pad_id, start_id=loaded.start_id)
    if scaled:
        # An architecture that treats its logits after the head (scaling, soft caps): the short cut must notice.
        original = type(loaded.model).forward

        def forward(self: torch.nn.Module, *args: object, **kwargs: object) -> object:
            output = original(self, *args, **kwargs)
            output.logits = output.logits * 3
            return output

        monkeypatch.setattr(type(loaded.model), "forward", forward)
    with torch.no_grad():
        logits, targets = SupervisedHead(loaded)(batch)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.decoder_input_ids is not None:
            inputs["decoder_input_ids"] = batch.decoder_input_ids
        whole = loaded.model(**inputs).logits
    keep = batch.labels != IGNORED
    assert torch.allclose(logits, whole[keep], atol=1e-4)
    assert torch.equal(targets, batch.labels[keep])
    assert len(targets) == sum(len(each.completion_ids) for each in examples)
