"""Two processes of a Trainer train as one does: the labels of a batch are counted over both."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.integrations import DeceForTrainer

Make = Callable[..., Any]
Rows = list[dict[str, torch.Tensor]]
ROOT = Path(__file__).parents[4]
ARGUMENTS = (
    "output_dir",
    "num_train_epochs",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "optim",
    "max_grad_norm",
    "logging_steps",
    "save_strategy",
    "report_to",
    "disable_tqdm",
    "use_cpu",
    "dataloader_pin_memory",
)
RANK = """
import sys
import torch
from transformers import LlamaForCausalLM, Trainer, TrainingArguments
from training.integrations import DeceForTrainer

directory = sys.argv[1]
args, rows = torch.load(f"{directory}/task.pt", weights_only=False)
trainer = Trainer(model=LlamaForCausalLM.from_pretrained(directory), args=TrainingArguments(**args), train_dataset=rows)
DeceForTrainer(alpha_base=0.9).attach(trainer)
trainer.train()
if trainer.is_world_process_zero():
    torch.save((trainer.state.log_history, trainer.model.state_dict()), f"{directory}/run.pt")
"""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _two_processes(directory: Path) -> None:
    """As torchrun starts them."""
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(directory)],
            env={**os.environ, **together, **paths, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        for process in started:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said[-2000:]
    finally:
        for process in started:
            process.kill()


def test_two_processes_train_as_one(
    tiny_llama: Make, causal_rows: Rows, trainer: Make, losses: Make, tmp_path: Path
) -> None:
    """Eight rows a step: four in each of two parts, or two in each of two parts and two processes."""
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    one = trainer(tiny_llama(), causal_rows[:8], per_device_train_batch_size=4, **settings)
    one.model.save_pretrained(tmp_path)
    arguments = {name: getattr(one.args, name) for name in ARGUMENTS}
    torch.save(({**arguments, "per_device_train_batch_size": 2}, causal_rows[:8]), tmp_path / "task.pt")
    _two_processes(tmp_path)
    DeceForTrainer(alpha_base=0.9).attach(one)
    one.train()
    history, weights = torch.load(tmp_path / "run.pt")
    entries = [entry for entry in history if "loss" in entry]
    assert [entry["loss"] for entry in entries] == pytest.approx(losses(one), rel=1e-5)
    ours = [entry["gradient_weight"] for entry in one.state.log_history[:-1]]
    assert [entry["gradient_weight"] for entry in entries] == pytest.approx(ours, rel=1e-5)
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6)
