"""What was wanted of the ratios: reference figures of the project, not of this run."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record import Bar
from benchmarks.timing import Spread
from benchmarks.timing import ratio_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``limit`` times what another variant takes."""

    variant: str
    against: str
    limit: float


def _limits(*rows: tuple[str, str, float]) -> tuple[Limit, ...]:
    return tuple(Limit(variant=variant, against=against, limit=limit) for variant, against, limit in rows)


HEAD_TIME = _limits(
    ("DeCE, native", "artifact", 0.50),
    ("DeCE, native, parity", "artifact", 0.50),
    ("DeCE, native", "cross-entropy", 0.90),
    ("DeCE, native", "three products", 1.10),
    ("DeCE, torch", "artifact", 0.60),
    ("DeCE, torch", "cross-entropy", 1.05),
    ("DeCE, torch", "three products", 1.30),
    ("DeCE, native, 1/6 of rows", "DeCE, native", 0.22),
)
HEAD_MEMORY = _limits(
    ("DeCE, native", "artifact", 0.06),
    ("DeCE, torch", "artifact", 0.06),
)
ROWS_TIME = _limits(
    ("DeCE rows, native", "artifact", 0.08),
    ("DeCE rows, native", "cross-entropy", 0.35),
)
STEP_SPEED = 5.0
"""Real tokens a second, times those of a loop in the artifact's manner, at least."""
PROBING_SPEED = 3.0
"""Prompts a second, times those of one prompt at a time, at least."""
GPU_PRODUCTS, GPU_ARTIFACT, GPU_EXTRA_MB = 1.15, 0.60, 600.0
GPU_SMALL_ARTIFACT = 0.30


def judge(quantity: str, limits: Sequence[Limit], measured: Mapping[str, Spread]) -> list[Bar]:
    """The bars whose two variants were measured."""
    return [
        Bar(
            what=f"{quantity}: {one.variant} / {one.against}",
            measured=ratio_of(measured[one.variant], measured[one.against]),
            limit=one.limit,
        )
        for one in limits
        if one.variant in measured and one.against in measured
    ]


def ratios(measured: Mapping[str, Spread], baselines: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of every variant, its median ratio to each baseline that was measured."""
    return {
        name: {base: ratio_of(spread, measured[base]).median for base in baselines if base in measured}
        for name, spread in measured.items()
    }
