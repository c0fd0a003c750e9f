"""Checkpoints: a run that was cut and resumed ends with the very weights of one that was not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.contract import layout
from deploy.contract.dataset import Row
from deploy.contract.method import DeceLoss
from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan
from deploy.store.directory import DirStore
from training import checkpoints as checkpoints_module
from training.checkpoints import CheckpointStore
from training.data.example import encode_rows
from training.loop import Run
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.lora import add_lora
from training.losses import build_loss
from training.model import LoadedModel

CPU = torch.device("cpu")
LOSS = build_loss(DeceLoss(alpha_base=0.9, label_smoothing=0.05), device=CPU)
JOB = "ftjob-abc"


class Cut(Exception):  # noqa: N818
    """Stands for a SIGKILL between two steps."""


def checkpoints_of(
    store: DirStore, scratch: Path, *, attempt: int = 1, fingerprint: str = "f" * 64
) -> CheckpointStore:
    return CheckpointStore(
        store,
        job_id=JOB,
        attempt=attempt,
        pod="pod",
        arm="hardened",
        training_sha256=fingerprint,
        scratch=scratch,
    )


def train_until(
    run: Run,
    rows: list[Row],
    plan: TrainingPlan,
    *,
    save_at: int | None,
    keep: CheckpointStore,
    history: dict[str, Any],
) -> None:
    def between(run: Run) -> None:
        if run.position.step == save_at:
            keep.save(run, history)
        if save_at is not None and run.position.step == save_at + 2:
            raise Cut

    watchers = Watchers(
        on_metrics=lambda metrics: None, on_epoch=lambda run, epoch: None, between_steps=between
    )
    examples = encode_rows(run.loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    train(run, examples, loss=LOSS, plan=plan, watchers=watchers)


@pytest.mark.parametrize("save_at", [3, 5, 8])
@pytest.mark.parametrize("adapter", [None, Lora(rank=2, dropout=0.2)])
def test_i1_resumed_equals_uninterrupted(
    tiny_model: Callable[[], LoadedModel],
    tiny_rows: list[Row],
    plan: TrainingPlan,
    tmp_path: Path,
    save_at: int,
    adapter: Lora | None,
) -> None:
    def fresh() -> Run:
        loaded = tiny_model()
        torch.manual_seed(plan.seed)
        if adapter is not None:
            add_lora(loaded, adapter)
        return start_run(loaded, plan)

    keep = checkpoints_of(DirStore(tmp_path / "store"), tmp_path / "scratch")
    straight = fresh()
    train_until(straight, tiny_rows, plan, save_at=None, keep=keep, history={})
    with pytest.raises(Cut):
        train_until(fresh(), tiny_rows, plan, save_at=save_at, keep=keep, history={"seen": save_at})
    resumed = fresh()
    again = checkpoints_of(DirStore(tmp_path / "store"), tmp_path / "scratch", attempt=2)
    assert again.restore_newest(resumed) == {"seen": save_at}
    assert resumed.position.step == save_at
    train_until(resumed, tiny_rows, plan, save_at=None, keep=again, history={})
    assert resumed.position == straight.position
    theirs = resumed.loaded.model.state_dict()
    for name, weight in straight.loaded.model.state_dict().items():
        assert torch.equal(weight, theirs[name]), name


@pytest.fixture
def saved(
    tiny_decoder_dir: Path, plan: TrainingPlan, tmp_path: Path
) -> tuple[DirStore, Run, CheckpointStore]:
    """A store with checkpoints of steps 1 and 2."""
    from training.model import load_model

    run = start_run(load_model(tiny_decoder_dir), plan)
    store = DirStore(tmp_path / "store")
    keep = checkpoints_of(store, tmp_path / "scratch")
    for step in (1, 2):
        run.position.step = step
        keep.save(run, {"step": step})
    return store, run, keep


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest"])
def test_f9_a_spoilt_checkpoint_is_passed_over_for_the_older_one(
    saved: tuple[DirStore, Run, CheckpointStore], tmp_path: Path, damage: str
) -> None:
    _, run, keep = saved
    prefix = tmp_path / "store" / layout.checkpoint_prefix(JOB, 1, "pod", "hardened", 2)
    victim = prefix / ("manifest.json" if damage == "manifest" else "weights.safetensors")
    data = victim.read_bytes()
    victim.unlink()
    if damage in ("truncated", "manifest"):
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert keep.restore_newest(run) == {"step": 1}
    assert run.position.step == 1


def test_another_training_under_the_same_name_keeps_its_own_checkpoints(
    saved: tuple[DirStore, Run, CheckpointStore], tmp_path: Path
) -> None:
    # The trials of alpha_base: each is one whole training, and the first was further than the second is.
    store, run, first = saved
    for step in (5, 6):
        run.position.step = step
        first.save(run, {"of": "the first"})
    run.position.step = 1
    second = checkpoints_of(store, tmp_path / "scratch", fingerprint="e" * 64)
    second.save(run, {"of": "the second"})
    run.position.step = 9
    assert second.restore_newest(run) == {"of": "the second"}
    for step in (2, 3, 4):
        run.position.step = step
        second.save(run, {"step": step})
    assert second.restore_newest(run) == {"step": 4}
    left = [
        info.key for info in store.list(layout.attempts_prefix(JOB)) if info.key.endswith("manifest.json")
    ]
    assert len(left) == 2


def test_a_checkpoint_of_another_training_is_never_resumed(
    saved: tuple[DirStore, Run, CheckpointStore], tmp_path: Path
) -> None:
    store, run, _ = saved
    other = checkpoints_of(store, tmp_path / "scratch", fingerprint="0" * 64)
    assert other.restore_newest(run) is None


def test_only_the_newest_are_kept(saved: tuple[DirStore, Run, CheckpointStore]) -> None:
    store, run, keep = saved
    for step in (3, 4, 5):
        run.position.step = step
        keep.save(run, {})
    steps = {info.key.split("/")[-2] for info in store.list(layout.job_prefix(JOB))}
    assert steps == {"00000004", "00000005"}


def test_f8_a_full_disk_during_a_checkpoint_leaves_the_older_one_in_force(
    saved: tuple[DirStore, Run, CheckpointStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, run, keep = saved
    before = sorted(info.key for info in store.list(""))

    def full(*args: object, **kwargs: object) -> None:
        raise checkpoints_module.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints_module, "save_file", full)
    run.position.step = 9
    with pytest.raises(OSError, match="No space left"):
        keep.save(run, {})
    assert sorted(info.key for info in store.list("")) == before
    assert not list((tmp_path / "scratch").iterdir())
    assert keep.restore_newest(run) == {"step": 2}


def test_f9_a_store_that_fails_half_way_leaves_no_visible_checkpoint(
    saved: tuple[DirStore, Run, CheckpointStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.store.protocol import StoreFull

    store, run, keep = saved
    real = DirStore.put_file

    def fails(self: DirStore, key: str, path: Path) -> object:
        if key.endswith("optimizer.safetensors"):
            raise StoreFull(key)
        return real(self, key, path)

    monkeypatch.setattr(DirStore, "put_file", fails)
    run.position.step = 9
    with pytest.raises(StoreFull):
        keep.save(run, {})
    monkeypatch.undo()
    assert keep.restore_newest(run) == {"step": 2}
    shutil.rmtree(store.uri.removeprefix("file://"))
