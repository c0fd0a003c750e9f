"""Several processes train the very model that one does: torchrun, gloo, DDP and FSDP2."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deploy.contract.dataset import Row

ALONE = [sys.executable, "-m", "training.finetune"]
TOGETHER = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "training.finetune"),
]


@pytest.fixture
def data(tmp_path: Path, tiny_rows: list[Row]) -> Path:
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["src", "tgt"])
        # 21 rows in batches of 4: in the last batch one process has none.
        writer.writerows((row.prompt, row.completion) for row in tiny_rows[:21])
    return path


def finetune(
    command: list[str], base: Path, data: Path, out: Path, *options: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    asked = [
        "--base",
        str(base),
        "--data",
        str(data),
        "--out",
        str(out),
        "--epochs",
        "2",
        "--batch-size",
        "4",
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    done = subprocess.run(
        [*command, *asked, "--learning-rate", "3e-3", "--alpha-base", "0.9", *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), load_file(out / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does(
    tiny_decoder_dir: Path, data: Path, tmp_path: Path, sharding: str
) -> None:
    """A small limit of tokens, so that gradients add up over unequal numbers of parts as well."""
    limit = ("--micro-batch-tokens", "64")
    one, alone = finetune(ALONE, tiny_decoder_dir, data, tmp_path / "one", *limit)
    two, together = finetune(
        TOGETHER, tiny_decoder_dir, data, tmp_path / "two", *limit, "--sharding", sharding
    )
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["epoch_losses"] == pytest.approx(one["epoch_losses"], rel=1e-4)
    assert together.keys() == alone.keys()
    for name, weight in alone.items():
        assert torch.allclose(together[name], weight, atol=1e-3), name


@pytest.mark.slow
def test_a_sharded_run_that_was_cut_ends_with_the_same_weights(
    tiny_decoder_dir: Path, data: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "checkpoints"
    options = ("--sharding", "fsdp", "--schedule", "step", "--checkpoints", str(kept))
    first, weights = finetune(TOGETHER, tiny_decoder_dir, data, tmp_path / "first", *options)
    assert len(list(kept.glob("step-*"))) == 2
    shutil.rmtree(max(kept.glob("step-*")))
    again, resumed = finetune(TOGETHER, tiny_decoder_dir, data, tmp_path / "again", *options)
    assert again == first
    for name, weight in weights.items():
        assert torch.equal(resumed[name], weight), name


def test_a_missing_file_is_named(tiny_decoder_dir: Path, tmp_path: Path) -> None:
    asked = [
        "--base",
        str(tiny_decoder_dir),
        "--data",
        str(tmp_path / "no.csv"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*ALONE, *asked], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no.csv" in done.stderr.splitlines()[-1]
