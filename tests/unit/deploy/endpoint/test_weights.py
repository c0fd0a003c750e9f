import json
from pathlib import Path

import pytest

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.endpoint.weights import InvalidModelError
from deploy.endpoint.weights import UnservableModelError
from deploy.endpoint.weights import check_servable
from deploy.endpoint.weights import fetch_weights
from deploy.store.directory import DirStore
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing


@pytest.fixture
def store(tmp_path: Path) -> DirStore:
    return DirStore(tmp_path / "store")


def stored(store: DirStore, name: str, data: bytes) -> StoredFile:
    store.put(name, data)
    return StoredFile(name=name, size_bytes=len(data), sha256=sha256_hex(data))


def test_exactly_the_files_of_the_order(store: DirStore, tmp_path: Path) -> None:
    files = (stored(store, "config.json", b"{}"), stored(store, "model.safetensors", b"x" * 1000))
    directory = tmp_path / "weights"
    (directory / "folder").mkdir(parents=True)
    (directory / "modeling_evil.py").write_text("raise SystemExit")
    (directory / "link").symlink_to("/etc/passwd")
    fetch_weights(store, files, directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": b"x" * 1000,
    }


def test_intact_files_are_not_fetched_again_and_changed_ones_are(store: DirStore, tmp_path: Path) -> None:
    files = (stored(store, "a", b"aaaa"), stored(store, "b", b"bbbb"))
    fetch_weights(store, files, tmp_path / "w")
    (tmp_path / "w/b").write_bytes(b"BBBB")
    store.delete("a")
    fetch_weights(store, files, tmp_path / "w")
    assert (tmp_path / "w/a").read_bytes() == b"aaaa"
    assert (tmp_path / "w/b").read_bytes() == b"bbbb"


def test_a_link_in_place_of_a_file_is_replaced(store: DirStore, tmp_path: Path) -> None:
    files = (stored(store, "a", b"aaaa"),)
    (tmp_path / "same").write_bytes(b"aaaa")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/a").symlink_to(tmp_path / "same")
    fetch_weights(store, files, tmp_path / "w")
    assert not (tmp_path / "w/a").is_symlink()


def test_tampered_weights_are_refused(store: DirStore, tmp_path: Path) -> None:
    file = stored(store, "model.safetensors", b"good")
    store.put("model.safetensors", b"evil")
    with pytest.raises(ObjectCorrupt, match=r"model\.safetensors"):
        fetch_weights(store, (file,), tmp_path / "w")
    assert not (tmp_path / "w/model.safetensors").exists()


def test_missing_weights_are_refused(store: DirStore, tmp_path: Path) -> None:
    file = StoredFile(name="gone", size_bytes=1, sha256="0" * 64)
    with pytest.raises(ObjectMissing):
        fetch_weights(store, (file,), tmp_path / "w")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "custom", "is_encoder_decoder": True},
        {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
        {"model_type": "plbart"},
        {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]},
        {"model_type": "bert", "architectures": ["BertForSequenceClassification"]},
    ],
)
def test_what_vllm_does_not_serve_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnservableModelError):
        check_servable(tmp_path)


def test_decoders_pass(tmp_path: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "is_encoder_decoder": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_servable(tmp_path)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"\xff"])
def test_no_config_is_no_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"config\.json"):
        check_servable(tmp_path)
