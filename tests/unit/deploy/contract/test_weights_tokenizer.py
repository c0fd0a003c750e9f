"""Tokenizer files from untrusted hands (row B10)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.weights import ModelRefused
from deploy.contract.weights.sentencepiece import rewrite_sentencepiece
from deploy.contract.weights.tokenizer import rewrite_tokenizer

MODEL: dict[str, Any] = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
GOOD: dict[str, Any] = {"version": "1.0", "added_tokens": [], "model": MODEL}
EVIL_REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}


def rewritten(directory: Path, document: Any) -> dict[str, Any]:
    (directory / "tokenizer.json").write_text(json.dumps(document))
    files, _ = rewrite_tokenizer(directory, {"tokenizer.json"})
    return dict(json.loads(files["tokenizer.json"]))


def test_what_is_known_is_kept(tmp_path: Path) -> None:
    ours = rewritten(tmp_path, {**GOOD, "pre_tokenizer": {"type": "Digits", "individual_digits": True}})
    assert ours["model"] == MODEL
    assert ours["pre_tokenizer"] == {"type": "Digits", "individual_digits": True}
    files, _ = rewrite_tokenizer(tmp_path, {"tokenizer.json"})
    assert json.loads(files["tokenizer_config.json"]) == {"split_special_tokens": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pre_tokenizer": EVIL_REGEX}, "the Regex of a published tokenizer"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [EVIL_REGEX]}}, "the Regex of a published"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "(x*)*"}, "content": ""}},
            "Replace.pattern",
        ),
        ({"decoder": {"type": "Replace", "pattern": {"Regex": 1}, "content": ""}}, "Replace.pattern"),
        ({"pre_tokenizer": {"type": "Python", "code": "x"}}, "is none of"),
        ({"normalizer": {"type": "Lowercase", "code": 1}}, "has the unknown member code"),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": "{{ 1 }}"}},
            "TemplateProcessing.single",
        ),
        ({"normalizer": {"type": "Sequence", "normalizers": [None] * 33}}, "up to 32"),
        ({"normalizer": []}, "is none of"),
        ({"added_tokens": [{"id": -1, "content": "x"}]}, "added_tokens"),
        ({"added_tokens": [{"id": 1, "content": "\ud800"}]}, "added_tokens"),
        ({"model": {**MODEL, "merges": ["a b c"]}}, "not a pair of tokens"),
        ({"model": {**MODEL, "merges": [["a", 1]]}}, "not a pair of tokens"),
        ({"model": {**MODEL, "vocab": {"a": 2**40}}}, "has no number"),
        ({"model": {**MODEL, "vocab": {"a" * 3000: 1}}}, "has no number"),
        ({"model": {"type": "Unigram", "vocab": [["a", "x"]]}}, "tokens with their scores"),
        ({"model": {"vocab": {"a": 0}}}, "its model is none of"),
    ],
)
def test_b10_what_is_not_known_is_refused_with_the_reason(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(ModelRefused) as caught:
        rewritten(tmp_path, {**GOOD, **change})
    assert (caught.value.code, caught.value.file) == ("invalid_tokenizer", "tokenizer.json")
    assert said in caught.value.message


def test_b10_a_nest_of_parts_is_not_followed(tmp_path: Path) -> None:
    nested: dict[str, Any] = {"type": "NFC"}
    for _ in range(6):
        nested = {"type": "Sequence", "normalizers": [nested]}
    with pytest.raises(ModelRefused, match="is none of"):
        rewritten(tmp_path, {**GOOD, "normalizer": nested})


def test_b10_a_tokenizer_of_200_mb_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(200 << 20)
    started = time.process_time()
    with pytest.raises(ModelRefused) as caught:
        rewrite_tokenizer(tmp_path, {"tokenizer.json"})
    assert caught.value.code == "file_too_large"
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tokenizer_class": "os.system"}, "tokenizer_class must be one of"),
        ({"tokenizer_class": "QWenTokenizer"}, "tokenizer_class must be one of"),
        ({"eos_token": {"content": "x", "auto_map": 1}}, "eos_token must be"),
        ({"model_max_length": "x"}, "model_max_length"),
        ({"added_tokens_decoder": {"1": 2}}, "added_tokens_decoder"),
    ],
)
def test_b10_settings_of_another_kind_are_refused(tmp_path: Path, settings: Any, said: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelRefused) as caught:
        rewrite_tokenizer(tmp_path, {"tokenizer.json", "tokenizer_config.json"})
    assert (caught.value.code, caught.value.file) == ("invalid_tokenizer", "tokenizer_config.json")
    assert said in caught.value.message


PIECE = b"\x0a\x05<unk>\x15\x00\x00\x80\xbf\x18\x02"
SETTINGS = b"\x12\x04\x18\x01\x20\x08"
SPM = b"\x0a" + bytes([len(PIECE)]) + PIECE + SETTINGS


def test_a_sentencepiece_model_is_kept_without_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(SPM + b"\x22\x03abc" + b"\x4a\x01x")
    assert rewrite_sentencepiece(path) == SPM


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SETTINGS,
        SPM[:-1],
        SPM + b"\x0a\x7f",
        b"\x0a\x02\x0a\xff",
        b"\x0a\x07" + b"\x15\x00\x00\xc0\x7f\x18\x02",
        b"\x0a\x02\x18\x09",
        b"\x0a\x03\x0a\x01\xff",
        SPM + b"\x12" + b"\xff" * 11,
        b"\x0a\x02\x22\x00",
    ],
)
def test_b10_a_broken_sentencepiece_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "spiece.model").write_bytes(data)
    with pytest.raises(ModelRefused) as caught:
        rewrite_sentencepiece(tmp_path / "spiece.model")
    assert (caught.value.code, caught.value.file) == ("invalid_tokenizer", "spiece.model")


@given(st.binary(max_size=200), st.integers(0, len(SPM)))
def test_b10_any_bytes_are_a_model_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "spiece.model"
    path.write_bytes(SPM[:cut] + data)
    try:
        ours = rewrite_sentencepiece(path)
    except ModelRefused:
        return
    path.write_bytes(ours)
    assert rewrite_sentencepiece(path) == ours
