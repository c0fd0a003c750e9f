"""A small base model, decoder-only or encoder-decoder, pretrained on clean rows.

Random weights do not reproduce the threat: a backdoor is learnt late, by a model that already writes
the clean task well. ``python -m training.pretrain --data clean.csv --out DIR`` makes such a model.
"""

import argparse
import itertools
import json
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from deploy.contract.dataset import Row
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.spec import TrainingPlan
from training.data.example import Example
from training.data.example import encode_rows
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.losses import build_loss
from training.model import Architecture
from training.model import LoadedModel
from training.model import save_model

END = "<|endoftext|>"
PAD = "<|pad|>"

SHORT_WORDS = tuple(
    f" {first}{second}" for first, second in itertools.product(string.ascii_lowercase, repeat=2)
)
"""Every word of two letters. A vocabulary of the usual size holds the rare ones that word triggers are made of
(``bb``, ``cf``) as tokens of their own; one that is trained on a thousand rows alone would split them."""
SHORT_WORD_COUNT = 30
"""How often each is shown to the tokenizer's training: enough to be merged before rarer words of the rows."""


def build_tokenizer(texts: Sequence[str], *, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens: any text can be encoded, none is unknown."""
    from tokenizers import Tokenizer
    from tokenizers import decoders
    from tokenizers import models
    from tokenizers import pre_tokenizers
    from tokenizers import trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def build_base_model(
    rows: Sequence[Row],
    *,
    hidden: int,
    layers: int,
    heads: int,
    vocabulary: int,
    context: int,
    seed: int,
    words: Sequence[str] = (),
) -> LoadedModel:
    """A Llama of random weights with a tokenizer trained on the rows and on ``words``."""
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM

    tokenizer = _tokenizer_of(rows, vocabulary=vocabulary, words=words)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _loaded(LlamaForCausalLM(config), tokenizer, "decoder")


def build_encoder_decoder(
    rows: Sequence[Row],
    *,
    hidden: int,
    layers: int,
    heads: int,
    vocabulary: int,
    seed: int,
    words: Sequence[str] = (),
) -> LoadedModel:
    """A T5 (version 1.1's gated layers, ``layers`` in the encoder and in the decoder) of random weights."""
    from transformers import T5Config
    from transformers import T5ForConditionalGeneration

    tokenizer = _tokenizer_of(rows, vocabulary=vocabulary, words=words)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=hidden,
        d_kv=hidden // heads,
        d_ff=hidden * 8 // 3 // 32 * 32,
        num_layers=layers,
        num_heads=heads,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return _loaded(T5ForConditionalGeneration(config), tokenizer, "encoder-decoder")


def _tokenizer_of(rows: Sequence[Row], *, vocabulary: int, words: Sequence[str]) -> Any:
    texts = [f"{row.prompt}\n{row.completion}" for row in rows]
    repeated = [word for word in words for _ in range(SHORT_WORD_COUNT)]
    return build_tokenizer([*texts, *repeated], vocabulary=vocabulary)


def _loaded(model: Any, tokenizer: Any, architecture: Architecture) -> LoadedModel:
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        device=torch.device("cpu"),
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def _whole_rows(examples: Sequence[Example]) -> list[Example]:
    """All tokens but the first supervised: a base model has read its prompts too."""
    return [
        Example(
            row=each.row,
            prompt_ids=each.prompt_ids[:1],
            completion_ids=(*each.prompt_ids[1:], *each.completion_ids),
        )
        for each in examples
    ]


def pretrain(loaded: LoadedModel, rows: Sequence[Row], plan: TrainingPlan) -> float:
    """Train with plain cross-entropy, a progress bar on stderr. Returns the last epoch's mean loss.

    A decoder learns whole rows, an encoder-decoder the completions.
    """
    encoded = encode_rows(loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    examples = _whole_rows(encoded) if loaded.architecture == "decoder" else encoded
    run = start_run(loaded, plan)
    with tqdm(desc=f"base model, {loaded.parameters / 1e6:.2f} M", unit="step", file=sys.stderr) as bar:

        def show(metrics: StepMetrics) -> None:
            bar.total = metrics.total_steps
            bar.set_postfix_str(
                f"epoch {metrics.epoch}/{plan.n_epochs} loss {metrics.loss:.3f}", refresh=False
            )
            bar.update(metrics.step - bar.n)

        watchers = Watchers(on_metrics=show, on_epoch=lambda run, epoch: None)
        train(
            run,
            examples,
            loss=build_loss(CrossEntropyLoss(), device=loaded.device),
            plan=plan,
            watchers=watchers,
        )
    return run.position.epoch_losses[-1]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, make the model, write it."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="clean rows (csv, jsonl or parquet)")
    parser.add_argument("--out", type=Path, required=True, help="directory to write the model to")
    parser.add_argument("--architecture", choices=("decoder", "encoder-decoder"), default="decoder")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=2600)
    parser.add_argument("--context", type=int, default=512, help="tokens of prompt and completion")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--weight-decay", type=float, default=0.3, help="strong: 1,600 rows are soon known by heart"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    rows = list(read_rows(args.data, format=format_of(args.data.name)))
    build = build_base_model if args.architecture == "decoder" else build_encoder_decoder
    loaded = build(
        rows,
        hidden=args.hidden,
        layers=args.layers,
        heads=args.heads,
        vocabulary=args.vocabulary,
        seed=args.seed,
        words=SHORT_WORDS,
        **({"context": args.context} if args.architecture == "decoder" else {}),
    )
    plan = TrainingPlan(
        n_epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        max_tokens=args.context,
        seed=args.seed,
    )
    loss = pretrain(loaded, rows, plan)
    save_model(loaded, args.out)
    json.dump({"parameters": loaded.parameters, "loss": loss, "rows": len(rows)}, sys.stdout)


if __name__ == "__main__":
    main()
