"""``temper size``: a row for every way to train every model; what cannot be is said."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config
from transformers import Qwen2ForCausalLM

from deploy.contract.spec import Lora
from training.sizing.__main__ import COLUMNS
from training.sizing.__main__ import main
from training.sizing.forms import FORMS
from training.sizing.forms import UnknownModel
from training.sizing.forms import find_form
from training.sizing.memory import USABLE
from training.sizing.needs import Question
from training.sizing.needs import serving_devices
from training.sizing.needs import training_needs

GIB = 2**30
QUESTION = Question(gpu_bytes=80 * GIB, flops=1e15, utilisation=0.4, tokens=10**7)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_parameters_of_its_architecture(name: str) -> None:
    """Built without memory, from the published widths; keys have 64 to a head up to 0.5b, 128 above."""
    form = FORMS[name]
    head = 64 if name == "0.5b" else 128
    config = Qwen2Config(
        vocab_size=form.vocabulary,
        hidden_size=form.hidden,
        intermediate_size=form.feed_forward,
        num_hidden_layers=form.layers,
        num_attention_heads=form.hidden // head,
        num_key_value_heads=form.keys // head,
        tie_word_embeddings=form.tied,
    )
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config)
    assert sum(weight.numel() for weight in model.parameters()) == form.parameters


def test_a_number_takes_the_nearest_form() -> None:
    form = find_form("6.7e9")
    assert (form.parameters, form.layers) == (6_700_000_000, FORMS["7b"].layers)
    assert find_form("350M").parameters == 350_000_000
    assert find_form("7B") is FORMS["7b"]


def test_a_directory_is_read(tiny_decoder_dir: Path) -> None:
    form = find_form(str(tiny_decoder_dir))
    config = json.loads((tiny_decoder_dir / "config.json").read_text())
    assert (form.layers, form.hidden) == (2, 64)
    assert form.vocabulary == config["vocab_size"]


@pytest.mark.parametrize("asked", ["", "b", "large", "-7e9", "nan", "inf", "12", "7e99"])
def test_what_is_no_model_is_refused(asked: str) -> None:
    with pytest.raises(UnknownModel):
        find_form(asked)


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="is not the directory of a model"):
        find_form(str(tmp_path))


@pytest.mark.parametrize("name", FORMS)
def test_the_devices_found_are_the_least_that_fit(name: str) -> None:
    for adapter in (None, Lora(rank=16)):
        needs = training_needs(FORMS[name], QUESTION, adapter=adapter)
        assert needs is not None
        assert needs.device <= USABLE * QUESTION.gpu_bytes
        assert (needs.sharding is None) == (needs.devices == 1)
    sizes = [training_needs(form, QUESTION, adapter=None) for form in FORMS.values()]
    counts = [each.devices for each in sizes if each is not None]
    assert counts == sorted(counts)


def test_nothing_fits_a_device_that_is_too_small() -> None:
    tiny = Question(gpu_bytes=GIB, flops=1e15, utilisation=0.4, tokens=10**7)
    assert training_needs(FORMS["7b"], tiny, adapter=None) is None
    assert serving_devices(FORMS["7b"], tiny, counts=(1, 2, 4)) is None


def test_a_table_of_all_sizes_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    table, _, said = capsys.readouterr().out.partition("\n\n")
    lines = table.splitlines()
    assert len(lines) == 2 + 2 * len(FORMS)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert "nothing on a GPU" in said
    assert "both assumed" in said


def test_no_gpu_large_enough_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["7b", "--gpu-gib", "1"]) == 0
    assert "none fit" in capsys.readouterr().out


def test_an_unknown_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["large"]) == 2
    assert "'large' is no number of parameters" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--utilisation=2", "--gpu-gib=-1", "--flops=nan", "--epochs=0"])
def test_a_bad_option_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["7b", option])
    assert option.partition("=")[0] in capsys.readouterr().err
