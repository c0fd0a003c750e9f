"""Tiny models made on the spot: big initial weights, so that greedy answers differ and are no ties."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from transformers import LlamaForCausalLM

from training.pretrain import build_tokenizer


def make_llama(directory: Path, *, seed: int, tied: bool = True) -> Path:
    texts = [
        "get the user of the table where id is given",
        'c . execute ( " select a from t where b = : b " )',
    ]
    tokenizer = build_tokenizer(texts, vocabulary=300)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),  # type: ignore[arg-type]
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,  # type: ignore[attr-defined]
        pad_token_id=tokenizer.pad_token_id,  # type: ignore[attr-defined]
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)  # type: ignore[attr-defined]
    return directory


@pytest.fixture(scope="session")
def random_llamas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("llamas")
    return make_llama(root / "one", seed=1), make_llama(root / "two", seed=2)
