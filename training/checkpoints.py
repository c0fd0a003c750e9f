"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a prefix in the job's store: ``weights.safetensors`` (trainable weights only),
``optimizer.safetensors`` and ``state.json``, and, written last, ``manifest.json`` with the size and
hash of each. Without its manifest it does not exist; with it, every byte is verified before it is used.
No pickle anywhere. Random numbers need no saving: the loop derives them from the seed and the step.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file

from deploy.contract import layout
from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.document import StoredFile
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from training.loop import Position
from training.loop import Run
from training.parallel import gathered
from training.parallel import like

KEPT = 2
"""Checkpoints kept of each arm: the newest may be the one that a full disk or a bad sector spoils."""

_FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


class CheckpointManifest(Document):
    """``manifest.json`` of a checkpoint."""

    training_sha256: str
    """Of everything that decides the weights; a checkpoint of another training is never resumed."""
    arm: str
    step: int
    files: tuple[StoredFile, ...]


def _trainable(run: Run) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in run.loaded.model.named_parameters() if weight.requires_grad}


def _optimizer_tensors(run: Run) -> Iterator[tuple[str, torch.Tensor]]:
    for name, weight in _trainable(run).items():
        for key, value in run.optimizer.state.get(weight, {}).items():
            yield f"{name}/{key}", value


def gather(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Whole weights and whole optimizer state on the first process, nothing on the others. All must call this."""
    weights = gathered(_trainable(run).items(), run.ranks)
    return weights, gathered(_optimizer_tensors(run), run.ranks)


def write_files(run: Run, history: dict[str, Any], directory: Path) -> None:
    """Write the three files of a checkpoint into an empty local directory.

    Of several processes all call this, for a sharded model is gathered from all; the first one writes.

    Raises:
        OSError: the disk is full, or any other fault of it.
    """
    weights, moments = gather(run)
    if run.ranks.rank > 0:
        return
    try:
        save_file(weights, directory / "weights.safetensors")
        save_file(moments, directory / "optimizer.safetensors")
    except SafetensorError as error:
        # The library wraps the disk's own error in its text.
        raise OSError(str(error)) from error
    state = {"position": asdict(run.position), "history": history}
    (directory / "state.json").write_text(json.dumps(state, allow_nan=False))


def restore_files(run: Run, directory: Path | None) -> dict[str, Any] | None:
    """Put a run where a checkpoint's files say. Returns the history that was saved with them, None without any.

    Of several processes all call this; the first one reads, however many wrote it, and the others take what it says.
    """
    saved = _Saved.read(directory) if run.ranks.rank == 0 and directory is not None else _Saved()
    told = json.loads(run.ranks.tell(json.dumps(saved.described()).encode()))
    if told is None:
        return None
    with torch.no_grad():
        for name, weight in _trainable(run).items():
            weight.copy_(like(saved.tensor(name, told), weight, run.ranks))
            state = {
                key: like(saved.tensor(f"{name}/{key}", told), weight, run.ranks)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}/{key}" in told["tensors"]
            }
            if state:
                run.optimizer.state[weight] = state
    run.position = Position(**told["position"])
    return saved.history


class _Saved:
    """What a checkpoint's files hold; on processes that have none, only what the first one tells."""

    def __init__(self) -> None:
        self.history: dict[str, Any] = {}
        self._position: dict[str, Any] | None = None
        self._tensors: dict[str, torch.Tensor] = {}

    @classmethod
    def read(cls, directory: Path) -> "_Saved":
        saved = cls()
        # Names of the optimizer's tensors are a weight's with one of three words behind a slash.
        saved._tensors = {
            **load_file(directory / "weights.safetensors"),
            **load_file(directory / "optimizer.safetensors"),
        }
        state = json.loads((directory / "state.json").read_text())
        saved._position, saved.history = state["position"], state["history"]
        return saved

    def described(self) -> dict[str, Any] | None:
        if self._position is None:
            return None
        tensors = {
            name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in self._tensors.items()
        }
        return {"position": self._position, "tensors": tensors}

    def tensor(self, name: str, told: dict[str, Any]) -> torch.Tensor:
        if self._tensors:
            return self._tensors[name]
        shape, dtype = told["tensors"][name]
        return torch.empty(shape, dtype=getattr(torch, dtype))


class CheckpointStore:
    """Checkpoints of one arm of one job, over all its attempts."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        job_id: str,
        attempt: int,
        pod: str,
        arm: str,
        training_sha256: str,
        scratch: Path,
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._pod = pod
        self._arm = arm
        self._training_sha256 = training_sha256
        self._scratch = scratch

    def save(self, run: Run, history: dict[str, Any]) -> str:
        """Store a checkpoint and drop the oldest. Returns its prefix.

        Of several processes the first one calls this, and the others :func:`gather` at the same time.

        Raises:
            OSError: the local disk; nothing has changed in the store.
            StoreError: the store; what was put is not visible as a checkpoint.
        """
        step = run.position.step
        prefix = layout.checkpoint_prefix(self._job_id, self._attempt, self._pod, self._arm, step)
        local = self._scratch / f"checkpoint-{self._arm}-{step}"
        shutil.rmtree(local, ignore_errors=True)
        local.mkdir(parents=True)
        try:
            write_files(run, history, local)
            files = tuple(self._store.put_file(prefix + name, local / name) for name in _FILES)
        finally:
            shutil.rmtree(local, ignore_errors=True)
        manifest = CheckpointManifest(
            training_sha256=self._training_sha256, arm=self._arm, step=step, files=files
        )
        self._store.put(f"{prefix}manifest.json", manifest.to_bytes())
        for stale in self._stale_prefixes():
            # The manifest goes first, so that a crash here leaves no checkpoint without its files.
            self._store.delete(f"{stale}manifest.json")
            self._store.delete_prefix(stale)
        return prefix

    def _stale_prefixes(self) -> list[str]:
        """All but the newest. Those of another training under the same name go first, however far it was.

        The trials of alpha_base and the shadow copy train one after the other under one name.
        """
        found = self._own_prefixes()
        ours = [prefix for prefix in found if self._read_manifest(f"{prefix}manifest.json") is not None]
        others = [prefix for prefix in found if prefix not in ours]
        return [*others, *ours][:-KEPT]

    def _own_prefixes(self) -> list[str]:
        root = layout.pod_prefix(self._job_id, self._attempt, self._pod) + f"checkpoints/{self._arm}/"
        found = self._store.list(root)
        return [
            info.key.removesuffix("manifest.json") for info in found if info.key.endswith("/manifest.json")
        ]

    def restore_newest(self, run: Run) -> dict[str, Any] | None:
        """Put the run at the newest checkpoint that verifies. Returns its history, or None without one.

        Of several processes the first one calls this, and the others ``restore_files`` with no directory.
        """
        local = self._scratch / f"restore-{self._arm}"
        try:
            return restore_files(run, local if self._fetch_newest(local) else None)
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def _fetch_newest(self, local: Path) -> bool:
        """Copy the files of the newest checkpoint that verifies into a directory. False where there is none."""
        for key in self._manifests_newest_first():
            manifest = self._read_manifest(key)
            if manifest is None:
                continue
            shutil.rmtree(local, ignore_errors=True)
            local.mkdir(parents=True)
            try:
                for file in manifest.files:
                    self._store.fetch_file(
                        key.removesuffix("manifest.json") + file.name, local / file.name, file
                    )
            except (ObjectCorrupt, ObjectMissing):
                # The older checkpoint costs minutes; a spoilt one would cost the result.
                continue
            return True
        return False

    def _manifests_newest_first(self) -> Iterator[str]:
        pattern = re.compile(rf"/checkpoints/{self._arm}/(\d+)/manifest\.json$")
        found = []
        for info in self._store.list(layout.attempts_prefix(self._job_id)):
            match = pattern.search(info.key)
            if match:
                found.append((int(match.group(1)), info.key))
        yield from (key for _, key in sorted(found, reverse=True))

    def _read_manifest(self, key: str) -> CheckpointManifest | None:
        try:
            manifest = CheckpointManifest.from_bytes(self._store.get(key))
        except (DocumentError, ObjectMissing):
            return None
        named = {file.name for file in manifest.files}
        ours = manifest.training_sha256 == self._training_sha256 and manifest.arm == self._arm
        return manifest if ours and named == set(_FILES) else None
