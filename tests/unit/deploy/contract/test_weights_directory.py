import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.intake_child import Limits
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_config
from deploy.contract.weights import check_directory
from deploy.contract.weights import check_in_child
from deploy.contract.weights import rewrite_directory

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": False},
    "model": {"type": "BPE", "vocab": {"a": 0, "auto_map": 1}, "merges": []},
}
EMBEDDING = np.full((8, 4), 0.5, np.float32)
INNER = np.full((6, 4), -0.25, np.float32)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with everything and nothing more."""
    path = tmp_path / "model"
    path.mkdir()
    write_json(path / "config.json", CONFIG)
    write_json(path / "tokenizer.json", TOKENIZER)
    (path / "model.safetensors").write_bytes(save({"embed": EMBEDDING, "inner": INNER}))
    return path


@pytest.fixture
def sharded(model: Path) -> Path:
    """The same in two shards."""
    (model / "model.safetensors").unlink()
    (model / "a.safetensors").write_bytes(save({"embed": EMBEDDING}))
    (model / "b.safetensors").write_bytes(save({"inner": INNER}))
    weight_map = {"embed": "a.safetensors", "inner": "b.safetensors"}
    write_json(model / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return model


def refusal(path: Path) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        check_directory(path)
    return caught.value


def test_a_good_directory(model: Path) -> None:
    found = check_directory(model)
    assert (found.architecture, found.model_type, found.vocab_size, found.parameters) == (
        "decoder",
        "llama",
        8,
        56,
    )
    assert [each.name for each in found.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [each.name for each in found.loadable] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for each in found.files:
        data = (model / each.name).read_bytes()
        assert (each.size_bytes, each.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_good_shards(sharded: Path) -> None:
    assert check_directory(sharded).parameters == 56


def test_the_child_says_the_same(model: Path) -> None:
    assert check_in_child(model, limits=Limits(memory_bytes=256 << 20)) == check_directory(model)
    (model / "config.json").unlink()
    with pytest.raises(ModelRefused) as caught:
        check_in_child(model)
    assert (caught.value.code, str(caught.value)) == ("missing_config", "there is no config.json")


def test_b16_the_child_is_limited(model: Path) -> None:
    # Twelve megabytes of JSON that become a quarter of a gigabyte of objects.
    (model / "tokenizer.json").write_bytes(b"[" + b"[]," * (4 << 20) + b"0]")
    with pytest.raises(ModelRefused) as caught:
        check_in_child(model, limits=Limits(memory_bytes=256 << 20))
    assert caught.value.code == "resource_limit"


def test_a_directory_that_is_gone_is_the_platforms_fault(tmp_path: Path) -> None:
    with pytest.raises(IntakeChildFailed, match="FileNotFoundError"):
        check_in_child(tmp_path / "gone")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def _put(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(data)


@pytest.mark.parametrize(
    ("change", "code", "file"),
    [
        (_remove("config.json"), "missing_config", None),
        (_remove("model.safetensors"), "missing_weights", None),
        (_remove("tokenizer.json"), "missing_tokenizer", None),
        (_put("pytorch_model.bin", b""), "file_not_allowed", "pytorch_model.bin"),
        (_put("modeling.py", b""), "file_not_allowed", "modeling.py"),
        (_put(".hidden", b""), "file_not_allowed", "'.hidden'"),
        (_put("extra.safetensors", save({"x": INNER})), "shards_mismatch", "extra.safetensors"),
        (_put("model.safetensors", b""), "invalid_safetensors", "model.safetensors"),
        (_put("model.safetensors", save({"embed": EMBEDDING})[:-1]), "invalid_safetensors", "model.safetensors"),
        (_put("model.safetensors", save({"embed": EMBEDDING})), "config_mismatch", "config.json"),
        (_put("config.json", b"[]"), "invalid_json", "config.json"),
        (_put("config.json", b"{"), "invalid_json", "config.json"),
        (_put("config.json", b"\xff"), "invalid_json", "config.json"),
        (_put("config.json", b'{"a":1,"a":2}'), "invalid_json", "config.json"),
        (_put("config.json", b'{"a":' * 40 + b"1" + b"}" * 40), "invalid_json", "config.json"),
        (_put("config.json", b'{"a":' * 99_999), "invalid_json", "config.json"),
        (_put("config.json", b" " * (2 << 20)), "file_too_large", "config.json"),
        (_put("generation_config.json", b"{"), "invalid_json", "generation_config.json"),
        (_put("tokenizer_config.json", b'{"tokenizer_class":"a.b"}'), "invalid_tokenizer", "tokenizer_config.json"),
        (_put("tokenizer.json", b"{}"), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", b'{"model":{"type":{}}}'), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", b'{"model":{"type":"Magic","vocab":{"a":0}}}'), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", b'{"model":{"type":"BPE","vocab":{}}}'), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", json.dumps({**TOKENIZER, "code": 1}).encode()), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", json.dumps({**TOKENIZER, "normalizer": [{"Regex": "x" * 5000}]}).encode()), "invalid_tokenizer", "tokenizer.json"),
        (_put("tokenizer.json", json.dumps({**TOKENIZER, "decoder": {"a": {"Regex": 1}}}).encode()), "invalid_tokenizer", "tokenizer.json"),
        (_put("vocab.json", b'{"a":-1}'), "invalid_tokenizer", "vocab.json"),
        (_put("added_tokens.json", b'{"a":"b"}'), "invalid_tokenizer", "added_tokens.json"),
        (_put("merges.txt", b"\xff"), "invalid_json", "merges.txt"),
        (_put("tokenizer.model", pickle.dumps({})), "invalid_tokenizer", "tokenizer.model"),
        (_put("spiece.model", b"hello"), "invalid_tokenizer", "spiece.model"),
        (lambda path: (path / "sub").mkdir(), "not_a_plain_file", "sub"),
        (lambda path: (path / "README.md").symlink_to("/etc/passwd"), "not_a_plain_file", "README.md"),
        (lambda path: (path / "vocab.txt").symlink_to("gone"), "not_a_plain_file", "vocab.txt"),
        (lambda path: os.mkfifo(path / "vocab.txt"), "not_a_plain_file", "vocab.txt"),
    ],
)  # fmt: skip
def test_refused(model: Path, change: Callable[[Path], object], code: str, file: str | None) -> None:
    change(model)
    error = refusal(model)
    assert (error.code, error.file) == (code, file)


@pytest.mark.parametrize(
    "files", [["vocab.json", "merges.txt"], ["vocab.txt"], ["spiece.model"], ["tokenizer.model"]]
)
def test_other_tokenizers_will_do(model: Path, files: list[str]) -> None:
    (model / "tokenizer.json").unlink()
    contents = {"vocab.json": b'{"a":0}', "merges.txt": b"#version\n", "vocab.txt": b"a\n"}
    piece = b"\x0a\x05<unk>\x15\x00\x00\x80\xbf\x18\x02"
    for name in files:
        (model / name).write_bytes(contents.get(name, b"\x0a" + bytes([len(piece)]) + piece))
    assert len(check_directory(model).files) == 2 + len(files)


def test_ignored_files_may_be_anything(model: Path) -> None:
    (model / "chat_template.jinja").write_bytes(b"{{ 1/0 }}\xff")
    (model / "README.md").write_bytes(b"# x")
    assert len(check_directory(model).files) == 5


def test_b6_a_renamed_pickle_is_not_run(model: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    (model / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    error = refusal(model)
    assert (error.code, error.file) == ("invalid_safetensors", "model.safetensors")
    assert not ran.exists()


def test_b7_named_code_is_not_imported(model: Path) -> None:
    write_json(model / "config.json", {**CONFIG, "auto_map": {"AutoModelForCausalLM": "tripwire.Model"}})
    (model / "tripwire.py").write_text("raise SystemExit")
    assert refusal(model).code == "file_not_allowed"
    (model / "tripwire.py").unlink()
    assert check_directory(model).dropped == ("config.json: auto_map",)
    assert "tripwire" not in sys.modules


@pytest.mark.parametrize(
    ("file", "extra", "dropped"),
    [
        ("config.json", {"auto_map": {}}, "auto_map"),
        ("config.json", {"trust_remote_code": True}, "trust_remote_code"),
        ("config.json", {"custom_pipelines": {}}, "custom_pipelines"),
        ("config.json", {"_attn_implementation": "eager"}, "_attn_implementation"),
        ("config.json", {"_attn_implementation_internal": "a/b"}, "_attn_implementation_internal"),
        ("config.json", {"attn_implementation": "someone/kernels"}, "attn_implementation"),
        ("config.json", {"experts_implementation": "x"}, "experts_implementation"),
        ("config.json", {"nested": {"deeper": [{"auto_map": 1}]}}, "nested"),
        ("config.json", {"rope_parameters": {"rope_type": "default", "auto_map": 1}}, "rope_parameters.auto_map"),
        ("generation_config.json", {"trust_remote_code": True}, "trust_remote_code"),
        ("generation_config.json", {"repetition_penalty": 9.0}, "repetition_penalty"),
        ("generation_config.json", {"suppress_tokens": [1]}, "suppress_tokens"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.Y"}}, "auto_map"),
        ("tokenizer_config.json", {"chat_template": "{{ 1 }}"}, "chat_template"),
        ("special_tokens_map.json", {"auto_map": 1}, "auto_map"),
        ("tokenizer.json", {"truncation": {"max_length": 1}}, "truncation"),
    ],
)  # fmt: skip
def test_b7_what_is_not_known_is_dropped_and_named(
    model: Path, tmp_path: Path, file: str, extra: dict[str, Any], dropped: str
) -> None:
    had = json.loads((model / file).read_text()) if (model / file).exists() else {}
    write_json(model / file, {**had, **extra})
    ours = tmp_path / "ours"
    ours.mkdir()
    checked = check_directory(model, rewritten=ours)
    assert f"{file}: {dropped}" in checked.dropped
    written = (ours / file).read_text()
    assert dropped.rpartition(".")[2] not in written or json.loads(written)[dropped] is None
    described = {each.name: each.sha256 for each in checked.rewritten}
    assert described[file] == hashlib.sha256(written.encode()).hexdigest()


def test_b7_rewriting_twice_changes_nothing(sharded: Path) -> None:
    write_json(sharded / "config.json", {**CONFIG, "auto_map": {}, "eos_token_id": [1, 2]})
    write_json(sharded / "generation_config.json", {"eos_token_id": 1, "temperature": 0.1})
    (sharded / "chat_template.jinja").write_text("{{ 1/0 }}")
    (sharded / "adapter_config.json").write_text("{}")
    (sharded / "model.sig").write_text("{}")
    assert "config.json: auto_map" in rewrite_directory(sharded, clear=True).dropped
    assert not (sharded / "chat_template.jinja").exists()
    assert not (sharded / "adapter_config.json").exists()
    once = {path.name: path.read_bytes() for path in sharded.iterdir()}
    assert "model.sig" in once
    assert rewrite_directory(sharded, clear=True).dropped == ()
    assert {path.name: path.read_bytes() for path in sharded.iterdir()} == once


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"rope_scaling": {"type": "evil"}}, "rope_scaling.type must be one of"),
        ({"rope_parameters": {"rope_theta": {}}}, "rope_parameters.rope_theta"),
        ({"rope_parameters": "x"}, "rope_parameters must be an object"),
        ({"hidden_act": "os.system"}, "hidden_act must be one of"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"eos_token_id": [{}]}, "eos_token_id"),
        ({"is_encoder_decoder": True}, "contradicts model_type llama"),
    ],
)
def test_b7_values_of_another_kind_are_refused_by_name(model: Path, extra: dict[str, Any], said: str) -> None:
    write_json(model / "config.json", {**CONFIG, **extra})
    error = refusal(model)
    assert (error.code, error.file) == ("invalid_config", "config.json")
    assert said in error.message


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"embed": "a.safetensors"}, "b.safetensors: is not named"),
        ({"embed": "a.safetensors", "inner": "b.safetensors", "x": "c.safetensors"}, "c.safetensors, which is not there"),
        ({"embed": "a.safetensors", "inner": "../b.safetensors"}, "../b.safetensors, which is not there"),
        ({"embed": "a.safetensors", "inner": "b.safetensors", "x": "b.safetensors"}, "b.safetensors: lacks the tensor x"),
        ({"embed": "b.safetensors", "inner": "a.safetensors"}, "lacks the tensor embed"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ({"embed": 1}, "is not a name"),
    ],
)  # fmt: skip
def test_b11_index_and_shards_must_agree(sharded: Path, weight_map: Any, said: str) -> None:
    write_json(sharded / "model.safetensors.index.json", {"weight_map": weight_map})
    error = refusal(sharded)
    assert error.code == "shards_mismatch"
    assert said in str(error)


def test_b11_a_missing_or_extra_shard(sharded: Path) -> None:
    shard = (sharded / "b.safetensors").read_bytes()
    (sharded / "c.safetensors").write_bytes(shard)
    assert "c.safetensors: is not named" in str(refusal(sharded))
    (sharded / "c.safetensors").unlink()
    (sharded / "b.safetensors").unlink()
    assert "b.safetensors, which is not there" in str(refusal(sharded))


def test_b11_a_shard_with_a_tensor_too_many(sharded: Path) -> None:
    (sharded / "b.safetensors").write_bytes(save({"inner": INNER, "more": INNER}))
    assert "holds the tensor more" in str(refusal(sharded))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": 2**31}, "vocab_size must be a whole number from 1 to 2000000"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"vocab_size": "8"}, "vocab_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"vocab_size": 8.0}, "vocab_size"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": -1}, "num_attention_heads"),
        ({"intermediate_size": 10**12}, "intermediate_size"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
        ({"num_experts": 10**6}, "num_experts"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": "x"}, "rope_theta"),
        ({"model_type": None}, "model_type"),
        ({"model_type": "../x"}, "model_type"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"torch_dtype": {"a": 1}}, "torch_dtype"),
        ({"dtype": "int8"}, "dtype"),
        ({"architectures": "Llama"}, "architectures"),
        ({"architectures": ["a.b"]}, "architectures"),
        ({"architectures": [1]}, "architectures"),
    ],
)
def test_b8_absurd_configs(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelRefused) as caught:
        check_config({**CONFIG, **change})
    assert (caught.value.code, caught.value.file) == ("invalid_config", "config.json")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "architecture"),
    [
        ({}, "decoder"),
        ({"architectures": None}, "decoder"),
        ({"architectures": [], "model_type": "gpt2"}, "decoder"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "encoder-decoder"),
        ({"architectures": ["RobertaForMaskedLM"], "model_type": "roberta"}, "encoder"),
        ({"architectures": ["BertLMHeadModel"], "model_type": "bert"}, "encoder"),
    ],
)
def test_architectures(change: dict[str, Any], architecture: str) -> None:
    assert check_config({**CONFIG, **change}).architecture == architecture


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "vit", "architectures": ["ViTModel"]},
        {"vision_config": {}},
        {"model_type": "new", "architectures": ["NewForCausalLM"]},
        {"architectures": ["LlamaForSequenceClassification"]},
    ],
)
def test_what_is_no_language_model(change: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused) as caught:
        check_config({**CONFIG, **change})
    assert caught.value.code == "unsupported_architecture"
