"""A run at its beginning, from a directory: the model loaded, its adapters added, shared among the ranks."""

import dataclasses
import gc
from pathlib import Path

import torch

from deploy.contract.spec import TrainingPlan
from training.loop import Run
from training.loop import start_run
from training.lora import add_lora
from training.lora import merge_lora
from training.model import load_model
from training.model import load_skeleton
from training.model import pick_device
from training.model import save_model
from training.parallel import Ranks
from training.parallel import whole_weights
from training.supervised_model import weights_dtype

CPU = torch.device("cpu")


def fresh_run(base_dir: Path, plan: TrainingPlan, ranks: Ranks, *, threads: int | None) -> Run:
    """Load and share a base model; every rank calls this.

    A sharded model is loaded by the first rank alone, into its node's memory: no device holds all of it, and one node
    holds it once.

    Raises:
        InvalidInput: the model cannot be loaded, or takes no adapter.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # Makes CUDA kernels repeatable as far as they can be; CPU kernels are.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(plan.seed)
    device = pick_device()
    dtype = weights_dtype(plan.precision, device, frozen=plan.adapter is not None)
    if ranks.sharding == "ddp":
        loaded = load_model(base_dir, device=device, dtype=dtype)
        if plan.adapter is not None:
            add_lora(loaded, plan.adapter)
        return start_run(loaded, plan, ranks)
    source = load_model(base_dir, device=CPU, dtype=dtype) if ranks.rank == 0 else None
    loaded = load_skeleton(base_dir, device=device, dtype=dtype)
    if plan.adapter is not None:
        for each in (source, loaded):
            if each is not None:
                add_lora(each, plan.adapter)
    run = start_run(loaded, plan, ranks, source)
    # Modules refer to one another in circles; a large model must not lie about until somebody looks.
    del source
    gc.collect()
    return run


def save_run(run: Run, plan: TrainingPlan, base_dir: Path, directory: Path) -> None:
    """Write the trained model as the first rank has gathered it, adapters merged; every rank calls this."""
    loaded = run.loaded
    weights = whole_weights(loaded.model, run.ranks) if run.ranks.sharding == "fsdp" else None
    if run.ranks.rank > 0:
        return
    if plan.adapter is None:
        save_model(loaded, directory, weights)
        return
    if weights is not None:
        # Shards cannot be merged: the base is loaded again, and takes the gathered adapters.
        dtype = next(iter(weights.values())).dtype
        loaded = load_model(base_dir, device=CPU, dtype=dtype)
        add_lora(loaded, plan.adapter)
        loaded.model.load_state_dict(weights, strict=False)
        loaded = dataclasses.replace(loaded, stored_dtype=run.loaded.stored_dtype)
    merge_lora(loaded)
    save_model(loaded, directory)
