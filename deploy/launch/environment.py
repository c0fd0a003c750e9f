"""What a job's process inherits from the service's environment: a short list, and nothing else."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "NO_PROXY",
)
INHERITED_PREFIXES: Final = ("AWS_", "TEMPER_S3_", "VLLM_")
SOCKET_DIRECTORY_BYTES: Final = 64
"""The kernel allows a socket's path 107 bytes, and what is made in TMPDIR needs some 40 of its own."""


def inherit(environment: Mapping[str, str], *, scratch: Path) -> dict[str, str]:
    """The environment of a child whose temporary files go to ``scratch``.

    Other ``TEMPER_*`` variables stay behind: they are the service's settings, its API key among them.
    """
    inherited = {
        name: value
        for name, value in environment.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    inherited["TMPDIR"] = str(scratch)
    # Threads that spin while they wait starve each other on shared cores: 480 s became 24 s for one probing.
    inherited.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if len(str(scratch).encode()) > SOCKET_DIRECTORY_BYTES:
        inherited.setdefault("VLLM_RPC_BASE_PATH", tempfile.gettempdir())
    return inherited
