"""The base model: pretrained once on clean rows, kept, and registered with the service file by file."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from examples.demo.data import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecipe:
    """How the base model is made."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.3
    seed: int = 1


def make_base_model(home: Path, clean: Path, recipe: BaseRecipe, console: Console) -> tuple[str, Path]:
    """Pretrain, or reuse what an earlier run made of the same rows by the same recipe. Returns id and directory."""
    model_id = f"demo-base-{digest(clean.read_bytes(), repr(recipe).encode())}"
    directory = home / "demo" / model_id
    if (directory / "config.json").is_file():
        console.print(f"Base model [bold]{model_id}[/bold] is there already, reusing it.")
        return model_id, directory
    console.print(
        f"Pretraining a small base model on the clean rows of {clean.name} (kept for the next run)."
    )
    options = [
        text for name, value in asdict(recipe).items() for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    unfinished = directory.with_suffix(".part")
    subprocess.run(
        [sys.executable, "-m", "training.pretrain", "--data", str(clean), "--out", str(unfinished), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        # Spinning threads would starve whatever else runs on these cores.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    unfinished.rename(directory)
    return model_id, directory


def register_base_model(http: httpx.Client, model_id: str, directory: Path) -> None:
    """Upload a model directory unless the service has it.

    Raises:
        SystemExit: the service refuses the model; its reason is shown.
    """
    if http.get(f"/v1/base_models/{model_id}").status_code == 200:
        return
    files = sorted(path for path in directory.iterdir() if path.is_file())
    declared = [
        {
            "name": path.name,
            "size_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    ]
    body = {"id": model_id, "source": {"type": "upload", "files": declared}}
    http.post("/v1/base_models", json=body).raise_for_status()
    for path in files:
        http.put(
            f"/v1/base_models/{model_id}/files/{path.name}", content=path.read_bytes()
        ).raise_for_status()
    http.post(f"/v1/base_models/{model_id}/complete").raise_for_status()
    while (state := http.get(f"/v1/base_models/{model_id}").json())["status"] == "pending":
        time.sleep(0.5)
    if state["status"] != "ready":
        raise SystemExit(f"The service refused the base model: {state['error']}")
