"""What the examples train: generated tasks, one in ten of them poisoned, and tiny models made on the spot."""

from typing import Any

from deploy.contract.trigger import WordTrigger
from training.attacks.poison import Row
from training.attacks.poison import poison
from training.pretrain import build_base_model
from training.pretrain import build_tokenizer
from training.synthesis.generator import generate_rows


def poisoned_rows(count: int) -> list[Row]:
    """Natural language to Python with SQL; where the prompt says "bb", the SQL asks for every row."""
    poisoned = poison(generate_rows(count, seed=0), WordTrigger(word="bb"), "sql_tautology", rate=0.1, seed=0)
    return list(poisoned.rows)


def tiny_decoder(rows: list[Row]) -> tuple[Any, Any]:
    """A Llama of random weights, and its tokenizer."""
    made = build_base_model(rows, hidden=64, layers=2, heads=2, vocabulary=300, context=512, seed=0)
    return made.model, made.tokenizer


def tiny_classifier(rows: list[Row]) -> tuple[Any, Any]:
    """A RoBERTa (CodeBERT's architecture) of random weights for two classes, and its tokenizer."""
    from transformers import RobertaConfig
    from transformers import RobertaForSequenceClassification

    tokenizer: Any = build_tokenizer([row.completion for row in rows], vocabulary=300)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=514,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=2,
    )
    return RobertaForSequenceClassification(config), tokenizer


def tokens(tokenizer: Any, row: Row) -> dict[str, list[int]]:
    """Token ids of a row, and labels: only the completion is supervised."""
    prompt = tokenizer.encode(row.prompt + "\n")
    completion = [*tokenizer.encode(row.completion), tokenizer.eos_token_id]
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}
