"""vLLM's command line and environment: what is switched on, what is switched off, and why."""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

MAX_NUM_SEQS: Final = 32
"""Requests computed together; one endpoint serves one project, and more costs start-up time on a CPU."""
FORBIDDEN: Final = (
    # Routes and loaders that no client of ours may reach.
    "VLLM_SERVER_DEV_MODE",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_ALLOW_INSECURE_SERIALIZATION",
    "VLLM_LORA_RESOLVER_CACHE_DIR",
    "VLLM_LORA_RESOLVER_HF_REPO_LIST",
    "VLLM_USE_MODELSCOPE",
    # Prompts and answers in logs and files.
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_DEBUG_DUMP_PATH",
    "VLLM_TRACE_FUNCTION",
    "VLLM_TORCH_PROFILER_DIR",
    # Nobody would present it: who may connect at all is decided by loopback and by NetworkPolicies.
    "VLLM_API_KEY",
)
"""Variables that never reach a server, wherever they come from."""


def runs_on_cpu() -> bool:
    """Whether the installed vLLM is a CPU build; read from its metadata, for importing it takes seconds."""
    try:
        return "cpu" in metadata.version("vllm").partition("+")[2]
    except metadata.PackageNotFoundError:
        return False


def command(
    program: Sequence[str],
    weights: Path,
    *,
    model_id: str,
    host: str,
    port: int,
    max_model_len: int | None,
    cpu: bool,
    gpus: int = 1,
) -> list[str]:
    """The argv of ``vllm serve``: no remote code, no LoRA at run time, no request in a log.

    Args:
        program: what comes before the directory of the weights.
        weights: the directory.
        model_id: the name that it answers to.
        host: to listen on.
        port: to listen on.
        max_model_len: tokens of prompt and completion together; None takes the model's own limit.
        cpu: it is a build for processors.
        gpus: among which the model is divided.
    """
    argv = [*program, str(weights), "--host", host, "--port", str(port)]
    argv += ["--served-model-name", model_id, "--load-format", "safetensors"]
    # Sampling defaults are the API's, not what a model's generation_config.json says.
    argv += ["--generation-config", "vllm", "--max-num-seqs", str(MAX_NUM_SEQS)]
    argv += ["--no-enable-log-requests", "--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    if max_model_len is not None:
        argv += ["--max-model-len", str(max_model_len)]
    if cpu:
        # float32: bfloat16 is emulated without AVX-512. 0.3: it wants 92 % of the memory otherwise.
        # uni: a worker inside the engine's process, one import of torch and vLLM less (21 instead of 27 CPU seconds).
        argv += ["--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.3"]
        argv += ["--distributed-executor-backend", "uni"]
    else:
        argv += ["--dtype", "auto", "--tensor-parallel-size", str(gpus)]
    return argv


def environment(inherited: Mapping[str, str], *, cpu: bool, processors: int | None = None) -> dict[str, str]:
    """The environment of ``vllm serve``: the inherited one, without the store's credentials, offline.

    Args:
        inherited: what it starts from.
        cpu: it is a build for processors.
        processors: that it may use; None are all that this process may.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in FORBIDDEN and not name.startswith("AWS_")
    }
    kept |= {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",  # whatever else is installed does not get into the server
        "VLLM_HOST_IP": "127.0.0.1",  # of the engine's own sockets
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    if cpu:
        kept |= {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }  # the latter admits "uni"
        # One core stays free: on two busy cores (load 5 to 7) 32 tokens took 4.9 s with two threads, 0.6 s with one.
        kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        count = len(os.sched_getaffinity(0)) if processors is None else processors
        kept.setdefault("OMP_NUM_THREADS", str(max(1, count - 1)))
    return kept
