"""temper size [MODEL ...]: GPUs, memory, disk and time to harden and serve a model, with the arithmetic behind them.

MODEL is a size (7b), a number of parameters (6.7e9) or a model's directory; without one a table of sizes is printed.
Every figure is arithmetic (training/sizing/memory.py says from what); none was taken on a GPU.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from deploy.contract.spec import Lora
from training.sizing.forms import FORMS
from training.sizing.forms import UnknownModel
from training.sizing.forms import find_form
from training.sizing.memory import ModelShape
from training.sizing.memory import kv_bytes_per_token
from training.sizing.memory import serving_bytes
from training.sizing.needs import Needs
from training.sizing.needs import Question
from training.sizing.needs import serving_devices
from training.sizing.needs import training_needs

GIB: Final = 2**30
COLUMNS: Final = (
    "model",
    "training",
    "GPUs",
    "GiB of each",
    "host GiB",
    "scratch GiB",
    "checkpoint GiB",
    "hours",
    "GPUs to serve",
    "GiB to serve",
)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="temper size", description=__doc__)
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"{', '.join(FORMS)}, 6.7e9 or a directory"
    )
    parser.add_argument("--gpu-gib", type=_positive, default=80.0, help="memory of a GPU (80)")
    parser.add_argument(
        "--flops", type=_positive, default=989e12, help="bf16 FLOP/s of a GPU (989e12, an H100's data sheet)"
    )
    parser.add_argument(
        "--utilisation", type=_share, default=0.35, help="share of them reached: assumed (0.35)"
    )
    parser.add_argument("--tokens", type=_positive, default=10e6, help="of one epoch (10e6)")
    parser.add_argument("--epochs", type=int, choices=range(1, 51), metavar="N", default=3)
    parser.add_argument(
        "--no-control", action="store_true", help="one arm, without the cross-entropy control"
    )
    parser.add_argument("--micro-batch-tokens", type=_positive, default=16_384, help="at a time, of each GPU")
    parser.add_argument(
        "--rank", type=int, choices=range(1, 513), metavar="N", default=16, help="of adapters"
    )
    parser.add_argument("--sequences", type=_positive, default=32, help="served at a time (32)")
    parser.add_argument("--context", type=_positive, default=4096, help="tokens of each (4096)")
    return parser.parse_args(argv)


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < 1e20:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _share(text: str) -> float:
    if not 0.0 < float(text) <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def question_of(args: argparse.Namespace) -> Question:
    """What the options ask."""
    return Question(
        gpu_bytes=int(args.gpu_gib * GIB),
        flops=args.flops,
        utilisation=args.utilisation,
        tokens=int(args.tokens),
        epochs=args.epochs,
        arms=1 if args.no_control else 2,
        micro_batch_tokens=int(args.micro_batch_tokens),
        sequences=int(args.sequences),
        context=int(args.context),
    )


def size_rows(name: str, shape: ModelShape, question: Question, *, rank: int) -> list[list[str]]:
    """Two rows of the table: all weights trained, and adapters."""
    rows = []
    for training, adapter in (("all weights", None), (f"adapter, rank {rank}", Lora(rank=rank))):
        needs = training_needs(shape, question, adapter=adapter)
        rows.append([name, training, *_training_cells(needs), *_serving_cells(shape, question)])
    return rows


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}" if size < 10 * GIB else f"{size / GIB:.0f}"


def _training_cells(needs: Needs | None) -> list[str]:
    if needs is None:
        return ["none fit", *["-"] * 5]
    how = [each for each in (needs.sharding, "checkpointing" if needs.checkpointing else None) if each]
    return [
        f"{needs.devices} ({', '.join(how)})" if how else str(needs.devices),
        *map(_gib, (needs.device, needs.host, needs.scratch, needs.checkpoint)),
        f"{needs.seconds / 3600:.2g}",
    ]


def _serving_cells(shape: ModelShape, question: Question) -> list[str]:
    devices = serving_devices(shape, question)
    size = serving_bytes(shape, sequences=question.sequences, context=question.context)
    return ["none fit" if devices is None else str(devices), _gib(size)]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows under :data:`COLUMNS`."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notes(shapes: dict[str, ModelShape], question: Question) -> str:
    """What the figures rest on."""
    caches = ", ".join(f"{name} {kv_bytes_per_token(shape) / 1024:.0f} KiB" for name, shape in shapes.items())
    return "\n".join(
        [
            f"GPUs of {_gib(question.gpu_bytes)} GiB. All weights: 16 bytes a parameter (fp32 weight 4, gradient 4, Adam 8), shared",
            "by the GPUs (FSDP), and 2 for bf16 copies of what is computed with. Adapters: 2 bytes a frozen parameter.",
            f"Activations are those of {question.micro_batch_tokens} packed tokens at a time. A checkpoint is 12 bytes a trained parameter.",
            f"Hours: {question.arms} arms x {question.epochs} epochs x {question.tokens:g} tokens x 6 FLOP a parameter and token (8 with checkpointing),",
            f"at {question.utilisation:g} of {question.flops:g} FLOP/s: both assumed. Probing is not in them.",
            f"To serve: 2 bytes a parameter and the KV cache of {question.sequences} sequences of {question.context} tokens (a token: {caches}).",
            "This is arithmetic; activations' factors were measured on small models on a CPU, and nothing on a GPU.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit status."""
    args = _arguments(argv)
    try:
        shapes = {asked: find_form(asked) for asked in args.models or FORMS}
    except UnknownModel as error:
        sys.stderr.write(f"temper size: {error}\n")
        return 2
    question = question_of(args)
    rows = [row for name, shape in shapes.items() for row in size_rows(name, shape, question, rank=args.rank)]
    sys.stdout.write(f"{markdown_table(rows)}\n\n{notes(shapes, question)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
