"""Fine-tune a model with DeCE from the command line, without the service: one process, or several under torchrun.

    python -m training.finetune --base DIR --data train.csv --out DIR
    torchrun --nproc-per-node 8 -m training.finetune --sharding fsdp --base DIR --data train.csv --out DIR

Progress goes to stderr; stdout is one line of JSON with the loss of every epoch. With --checkpoints a run that
was cut goes on where its last whole epoch ended, and ends with the weights it would have had.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.checkpoints import KEPT
from training.checkpoints import restore_files
from training.checkpoints import write_files
from training.data.example import encode_rows
from training.errors import JobError
from training.loop import Run
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.losses import build_loss
from training.model import LoadedModel
from training.model import load_model
from training.model import save_model
from training.parallel import Ranks
from training.parallel import process_group
from training.parallel import whole_weights


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.finetune", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="model directory (safetensors)")
    parser.add_argument(
        "--data", type=Path, required=True, help="csv, jsonl or parquet with prompts and completions"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to write the model to")
    parser.add_argument(
        "--checkpoints", type=Path, help="write one here after every epoch; resume from the newest"
    )
    parser.add_argument("--loss", choices=("dece", "cross_entropy"), default="dece")
    parser.add_argument("--alpha-base", type=float, default=0.99)
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument("--mode", choices=("exact", "parity"), default="exact")
    parser.add_argument("--schedule", choices=("epoch", "step"), default="epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--batch-size", type=int, default=8, help="rows of an optimizer step, over all processes"
    )
    parser.add_argument(
        "--micro-batch-tokens", type=int, default=16_384, help="tokens of one process at a time"
    )
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--sharding", choices=("ddp", "fsdp"), default="ddp", help="among torchrun's processes"
    )
    return parser.parse_args(argv)


def _loss(args: argparse.Namespace) -> DeceLoss | CrossEntropyLoss:
    if args.loss == "cross_entropy":
        return CrossEntropyLoss()
    return DeceLoss(
        alpha_base=args.alpha_base,
        label_smoothing=args.label_smoothing,
        mode=args.mode,
        schedule=args.schedule,
    )


def _plan(args: argparse.Namespace) -> TrainingPlan:
    return TrainingPlan(
        n_epochs=args.epochs,
        batch_size=args.batch_size,
        micro_batch_tokens=args.micro_batch_tokens,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        max_tokens=args.max_tokens,
        gradient_checkpointing=args.gradient_checkpointing,
        precision=args.precision,
        seed=args.seed,
    )


def _checkpoint(run: Run, directory: Path) -> None:
    """Write one; a directory without the dot is complete."""
    name = f"step-{run.position.step:08d}"
    writing = directory / f".{name}"
    if run.ranks.rank == 0:
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
    write_files(run, {}, writing)
    if run.ranks.rank == 0:
        writing.replace(directory / name)
        for stale in sorted(directory.glob("step-*"))[:-KEPT]:
            shutil.rmtree(stale)


def _resume(run: Run, directory: Path) -> None:
    complete = sorted(directory.glob("step-*"))
    if complete:
        restore_files(run, complete[-1])
        if run.ranks.rank == 0:
            print(f"resumed at {complete[-1].name}", file=sys.stderr)  # noqa: T201 - a command's own output


def _fine_tune(args: argparse.Namespace, loaded: LoadedModel, ranks: Ranks) -> Run:
    plan = _plan(args)
    rows = read_rows(args.data, format=format_of(args.data.name))
    examples = encode_rows(loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    run = start_run(loaded, plan, ranks)
    if args.checkpoints is not None:
        _resume(run, args.checkpoints)
    with tqdm(desc=args.loss, unit="step", file=sys.stderr, disable=ranks.rank > 0) as bar:

        def show(metrics: StepMetrics) -> None:
            bar.total = metrics.total_steps
            said = (
                f"epoch {metrics.epoch} loss {metrics.loss:.3f} gradient weight {metrics.gradient_weight:.2f}"
            )
            bar.set_postfix_str(said, refresh=False)
            bar.update(metrics.step - bar.n)

        def end_epoch(run: Run, epoch: int) -> None:
            del epoch
            if args.checkpoints is not None:
                _checkpoint(run, args.checkpoints)

        watchers = Watchers(on_metrics=show, on_epoch=end_epoch)
        loss = build_loss(_loss(args), device=loaded.device)
        train(run, examples, loss=loss, plan=plan, watchers=watchers)
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, write the model. Returns the exit status."""
    args = _arguments(argv)
    torch.manual_seed(args.seed)
    try:
        loaded = load_model(args.base, dtype=torch.float32)
        with process_group(args.sharding, device=loaded.device) as ranks:
            run = _fine_tune(args, loaded, ranks)
            weights = whole_weights(loaded.model, ranks)
            if ranks.rank == 0:
                save_model(loaded, args.out, weights)
                json.dump({"epoch_losses": run.position.epoch_losses, "processes": ranks.world}, sys.stdout)
    except (DatasetError, JobError, ValueError, OSError) as error:
        print(f"finetune: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
