"""Loading models: what the library only warns about is refused here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from training.errors import InvalidInput
from training.model import LoadedModel
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


def test_what_is_saved_has_the_precision_of_the_base_model(
    tiny_model: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    """A server takes its precision from the files: fp32 for the optimizer's sake must not double its memory."""
    half = tiny_model()
    half.model.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    half.tokenizer.save_pretrained(tmp_path / "half")
    loaded = load_model(tmp_path / "half", dtype=torch.float32)
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    save_model(loaded, tmp_path / "saved")
    before = load_file(tmp_path / "half" / "model.safetensors")
    after = load_file(tmp_path / "saved" / "model.safetensors")
    assert after.keys() == before.keys()
    for name, weight in before.items():
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name], weight), name
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "bfloat16"
