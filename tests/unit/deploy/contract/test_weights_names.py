import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.document import StoredFile
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_name
from deploy.contract.weights import check_names

ALLOWED = ["model.safetensors", "model-00001-of-00006.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "model.safetensors.index.json", "chat_template.jinja", "README.md", "LICENSE", "LICENSE.txt"]  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", "pickle can run code; convert the weights to safetensors"),
        ("model.PT", "pickle can run code"),
        ("x.pth", "pickle can run code"),
        ("x.pkl", "pickle can run code"),
        ("x.ckpt", "pickle can run code"),
        ("training_args.bin", "pickle can run code"),
        ("model.bin.safetensors", "pickle can run code"),
        ("modeling_x.py", "code is never loaded"),
        ("x.so", "code is never loaded"),
        ("x.py.safetensors", "code is never loaded"),
        ("flax_model.msgpack", "safetensors only"),
        ("tf_model.h5", "safetensors only"),
        ("x.gguf", "safetensors only"),
        ("x.onnx", "safetensors only"),
        ("x.zip", "not unpacked"),
        ("x.tar.gz", "not unpacked"),
        ("x.safetensors.zip", "not unpacked"),
        ("model.SAFETENSORS", "none of the files"),
        ("Config.json", "none of the files"),
        ("adapter_config.json", "none of the files"),
        ("safetensors", "none of the files"),
        ("", "characters"),
        (".safetensors", "characters"),
        ("../x.safetensors", "characters"),
        ("/etc/x.safetensors", "characters"),
        ("a\\b.safetensors", "characters"),
        ("a/b.safetensors", "characters"),
        ("a\0.safetensors", "characters"),
        ("a.safetensors\n", "characters"),
        ("a b.safetensors", "characters"),
        ("\u0441onfig.json", "characters"),
        ("a" * 300 + ".safetensors", "characters"),
    ],
)
def test_b1_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(ModelRefused) as caught:
        check_name(name)
    assert caught.value.code == "file_not_allowed"
    assert said in str(caught.value)


def test_b2_names_that_differ_by_case_only() -> None:
    with pytest.raises(ModelRefused, match="case only"):
        check_names(["a.safetensors", "A.safetensors"])


def test_too_many_files() -> None:
    with pytest.raises(ModelRefused) as caught:
        check_names(f"{number}.safetensors" for number in range(10**9))
    assert caught.value.code == "too_many_files"


@given(
    st.text(max_size=140) | st.from_regex(r"[A-Za-z0-9._/-]{1,20}\.(safetensors|bin|json)", fullmatch=True)
)
def test_an_allowed_name_can_be_stored(name: str) -> None:
    try:
        check_name(name)
    except ModelRefused as error:
        str(error).encode("ascii")
        return
    StoredFile(name=name, size_bytes=0, sha256="0" * 64)
