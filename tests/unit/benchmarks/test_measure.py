"""The sections, on small sizes."""

from collections.abc import Callable

import pytest
import torch

from benchmarks import measure_head
from benchmarks import measure_rows
from benchmarks import measure_step
from benchmarks.head import VARIANTS
from benchmarks.head import HeadInput
from benchmarks.head import HeadShape
from benchmarks.measure_gpu import LARGE
from benchmarks.measure_gpu import SMALL
from benchmarks.measure_gpu import bars_of
from benchmarks.measure_gpu import measure_gpu
from benchmarks.measure_rows import RowsInput
from benchmarks.measure_rows import rows_variants
from benchmarks.measure_step import StepShape
from benchmarks.peak import PeakError
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.timing import spread_of

SETTINGS = Settings(rounds=2, quick=True)


class Counting:
    """A progress that counts."""

    def __init__(self) -> None:
        self.promised = self.done = 0

    def begin(self, title: str, steps: int) -> None:
        del title
        self.promised += steps

    def step(self, doing: str) -> None:
        assert doing
        self.done += 1


@pytest.fixture
def progress() -> Counting:
    return Counting()


@pytest.fixture
def watch(progress: Counting) -> Watch:
    return Watch(progress=progress, cores=2, read_load=lambda: 0.5)


@pytest.fixture
def small_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_head, "QUICK", HeadShape(rows=64, hidden=8, classes=128))
    peaks = {"artifact": 100_000_000, "DeCE, native": 3_000_000}
    monkeypatch.setattr(measure_head, "peak_in_child", lambda name, shape: peaks[name])


def head_variants(*names: str) -> dict[str, Callable[[HeadInput], torch.Tensor | None]]:
    return {name: VARIANTS[name] for name in names}


@pytest.mark.usefixtures("small_head")
def test_the_head_is_timed_and_its_memory_measured(watch: Watch, progress: Counting) -> None:
    section = measure_head.measure_head(SETTINGS, watch, variants=head_variants("artifact", "DeCE, native"))
    assert section.failures == ()
    assert progress.done == progress.promised
    bars = {bar.what: bar for bar in section.bars}
    assert bars["peak memory: DeCE, native / artifact"].measured.median == pytest.approx(0.03)
    assert bars["time: DeCE, native / artifact"].measured.median > 0.0
    assert [(one.variant, one.quantity) for one in section.measurements] == [
        ("artifact", "time"),
        ("DeCE, native", "time"),
        ("artifact", "peak memory"),
        ("DeCE, native", "peak memory"),
    ]


@pytest.mark.usefixtures("small_head")
def test_a_variant_that_fails_is_told_and_the_others_measured(watch: Watch) -> None:
    def broken(given: HeadInput) -> torch.Tensor:
        raise RuntimeError("nothing to compile with")

    variants = {**head_variants("artifact"), "DeCE, native": broken}
    section = measure_head.measure_head(SETTINGS, watch, variants=variants)
    assert section.failures == ("DeCE, native did not run: RuntimeError: nothing to compile with",)
    assert {one.variant for one in section.measurements} == {"artifact"}
    assert section.bars == ()


@pytest.mark.usefixtures("small_head")
def test_a_variant_that_computes_something_else_is_told(watch: Watch) -> None:
    variants = {**head_variants("artifact"), "DeCE, native, parity": VARIANTS["cross-entropy"]}
    measure_head.peak_in_child = lambda name, shape: 1  # type: ignore[assignment]
    section = measure_head.measure_head(SETTINGS, watch, variants=variants)
    assert section.failures[0].startswith("DeCE, native, parity: loss ")


@pytest.mark.usefixtures("small_head")
def test_a_peak_that_cannot_be_measured_is_told(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, shape: HeadShape) -> int:
        raise PeakError(f"{name}: exit status 9")

    monkeypatch.setattr(measure_head, "peak_in_child", broken)
    section = measure_head.measure_head(SETTINGS, watch, variants=head_variants("artifact"))
    assert section.failures == ("artifact: exit status 9",)
    assert {one.quantity for one in section.measurements} == {"time"}


def test_rows_leave_the_gradients_that_their_names_promise() -> None:
    given = RowsInput(rows=32, classes=64)
    found = {one.variant.name: one for one in rows_variants(given)}
    gradients = {}
    for name in ("dece(), torch", "dece(), native"):
        found[name].variant.prepare()
        found[name].variant.run()
        assert given.logits_NV.grad is not None
        gradients[name] = given.logits_NV.grad.clone()
    for name in ("DeCE rows, torch", "DeCE rows, native"):
        found[name].variant.prepare()
        found[name].variant.run()
        gradients[name] = given.work_nV.clone()
    first = gradients.pop("dece(), torch")
    for other in gradients.values():
        assert torch.allclose(other, first, rtol=1e-4, atol=1e-8)
    assert found["artifact"].elements == 32 * 64


def test_rows_are_measured_in_nanoseconds_an_element(
    watch: Watch, progress: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = measure_rows.rows_variants
    monkeypatch.setattr(measure_rows, "QUICK", (32, 512))
    monkeypatch.setattr(
        measure_rows,
        "rows_variants",
        lambda given: [one for one in everything(given) if one.variant.name != "DeCE rows, compiled"],
    )
    section = measure_rows.measure_rows(SETTINGS, watch)
    assert section.failures == ()
    assert progress.done == progress.promised
    assert {one.unit for one in section.measurements} == {"ns/element"}
    assert len(section.bars) == 2
    # A row of logits takes neither a picosecond nor a microsecond an element.
    assert all(0.01 < one.spread.median < 1000.0 for one in section.measurements)


def test_a_step_is_compared_at_equal_losses(watch: Watch, progress: Counting) -> None:
    shape = StepShape(hidden=32, layers=1, heads=1, vocabulary=300, batch_size=2)
    section = measure_step.measure_step(SETTINGS, watch, shape=shape)
    assert section.failures == ()
    assert progress.done == progress.promised == 7
    (bar,) = section.bars
    assert bar.at_least
    # Packed and projected where supervised: faster even where nothing is large.
    assert bar.measured.median > 1.0
    assert len(bar.measured.samples) == 6


def test_rows_are_generated_where_lyra_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_step, "LYRA", measure_step.LYRA / "absent")
    source, rows = measure_step.rows_of(5)
    assert source == "training.synthesis"
    assert len(rows) == 5


def test_without_a_device_the_record_says_so(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    section = measure_gpu(SETTINGS, watch)
    assert section.not_measured == "no CUDA device"
    assert section.bars == section.failures == ()


def test_a_gpus_bars() -> None:
    times = {
        "artifact": spread_of([80.0]),
        "DeCE, triton": spread_of([40.0]),
        "three products": spread_of([36.0]),
    }
    bars = bars_of(LARGE, times, {"DeCE, triton": spread_of([550.0])})
    assert [(bar.measured.median, bar.limit, bar.unit) for bar in bars] == [
        (pytest.approx(0.5), 0.60, "x"),
        (pytest.approx(40 / 36), 1.15, "x"),
        (550.0, 600.0, "MB"),
    ]
    assert all(bar.met for bar in bars)
    (small,) = bars_of(SMALL, times, {})
    assert (small.limit, small.met) == (0.30, False)
    assert bars_of(LARGE, {}, {}) == []
