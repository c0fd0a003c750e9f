"""Section ``rows``: the row mathematics without the products, in nanoseconds an element of the logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from benchmarks import limits
from benchmarks.artifact import artifact_dece
from benchmarks.compiled_rows import CompiledDeceRows
from benchmarks.head import ALPHA
from benchmarks.head import LABEL_SMOOTHING
from benchmarks.head import PAD
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import attempt
from benchmarks.session import finish
from benchmarks.timing import Variant
from benchmarks.timing import scaled
from benchmarks.timing import take_turns
from training.losses import dece
from training.losses.backend import Backend
from training.losses.backend import dece_rows
from training.losses.chunk import rows_per_chunk
from training.losses.row import RowLoss

ROUNDS_FACTOR = 4
"""These are short: so many more rounds than were asked for."""
BASELINES = ("artifact", "cross-entropy")
FULL, QUICK = (1024, 32768), (256, 8192)
"""Rows and classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsVariant:
    """One way to turn logits into their gradient, over ``elements`` logits."""

    variant: Variant
    elements: int


class RowsInput:
    """Whole logits for those that take them whole, and one chunk for row losses, filled anew before every run."""

    def __init__(self, *, rows: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits_NV = (3.0 * torch.randn(rows, classes, generator=generator)).requires_grad_()
        self.targets_N = torch.randint(PAD + 1, classes, (rows,), generator=generator)
        self.chunk = min(rows, rows_per_chunk(classes, dtype=torch.float32, device=torch.device("cpu")))
        self._kept_nV = self.logits_NV.detach()[: self.chunk].clone()
        self.work_nV = torch.empty_like(self._kept_nV)
        self.scale_n = torch.full((self.chunk,), 1.0 / rows)

    def forget(self) -> None:
        """Drop the gradient."""
        self.logits_NV.grad = None

    def fill(self) -> None:
        """Logits in the chunk's memory, as a product leaves them there."""
        self.work_nV.copy_(self._kept_nV)


def _over_logits(loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        loss().backward()  # type: ignore[no-untyped-call]

    return run


def _in_place(given: RowsInput, row: Callable[[], RowLoss]) -> Callable[[], Any]:
    return lambda: row().rows_(given.work_nV, given.targets_N[: given.chunk], given.scale_n)


def rows_variants(given: RowsInput) -> list[RowsVariant]:
    """Those over whole logits (with the copy that autograd's contract asks for), and the rows alone."""
    z_NV, t_N = given.logits_NV, given.targets_N
    options: dict[str, Any] = {"alpha": ALPHA, "label_smoothing": LABEL_SMOOTHING}
    whole: dict[str, Callable[[], torch.Tensor]] = {
        "artifact": lambda: artifact_dece(z_NV, t_N, ignore_index=PAD, **options),
        "cross-entropy": lambda: functional.cross_entropy(z_NV, t_N),
        "dece(), torch": lambda: dece(z_NV, t_N, backend="torch", **options),
        "dece(), native": lambda: dece(z_NV, t_N, backend="native", **options),
    }
    found = [
        RowsVariant(
            variant=Variant(name=name, run=_over_logits(loss), prepare=given.forget),
            elements=z_NV.numel(),
        )
        for name, loss in whole.items()
    ]
    for name, row in _row_losses().items():
        variant = Variant(name=name, run=_in_place(given, row), prepare=given.fill)
        found.append(RowsVariant(variant=variant, elements=given.work_nV.numel()))
    return found


def _row_losses() -> dict[str, Callable[[], RowLoss]]:
    cpu = torch.device("cpu")

    def with_backend(backend: Backend) -> Callable[[], RowLoss]:
        return lambda: dece_rows(alpha=ALPHA, label_smoothing=LABEL_SMOOTHING, backend=backend, device=cpu)

    return {
        "DeCE rows, torch": with_backend("torch"),
        "DeCE rows, compiled": lambda: CompiledDeceRows(alpha=ALPHA, label_smoothing=LABEL_SMOOTHING),
        "DeCE rows, native": with_backend("native"),
    }


def measure_rows(settings: Settings, watch: Watch) -> Section:
    """Warm up, then time by turns."""
    rows, classes = QUICK if settings.quick else FULL
    rounds = settings.rounds * ROUNDS_FACTOR
    torch.set_num_threads(1)
    given = RowsInput(rows=rows, classes=classes)
    failures: list[str] = []
    variants = rows_variants(given)
    watch.progress.begin("rows", len(variants) * (rounds + 1))
    working = []
    for one in variants:
        one.variant.prepare()
        before = len(failures)
        attempt(one.variant.name, one.variant.run, failures)
        if len(failures) == before:
            working.append(one)
        watch.tick(f"{one.variant.name}, warming up")
    timed = take_turns([one.variant for one in working], rounds=rounds, tick=watch.tick)
    per_element = {
        one.variant.name: scaled(timed.seconds[one.variant.name], 1e9 / one.elements) for one in working
    }
    compared = limits.ratios(per_element, BASELINES)
    return finish(
        "rows",
        "Row mathematics alone: logits to loss and gradient",
        shape={"rows": rows, "classes": classes, "dtype": "float32"},
        settings=settings,
        watch=watch,
        timed=timed,
        measurements=[
            Measurement(
                variant=name, quantity="time", unit="ns/element", spread=spread, against=compared[name]
            )
            for name, spread in per_element.items()
        ],
        bars=limits.judge("time", limits.ROWS_TIME, per_element),
        notes=[
            f"Rows work in place on {given.chunk} rows at a time, as under the fused head; dece() takes whole logits "
            "like the other two.",
        ],
        failures=failures,
    )
