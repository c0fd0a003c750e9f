"""The child process that runs vLLM: ``python -m training.probing.vllm_worker WORK``.

Greedy completions of token-id prompts by several models, one after the other. Each model gets an
engine of its own, but all in this one process: importing vLLM takes 8 s, an engine for a small model
3 s. Loading new weights into a running engine (``reload_weights`` of vLLM 0.32) is not used: it leaves
a head that is tied to the embeddings with the old weights and says so only in a warning.

Reads ``WORK/request.json``: ``models`` (directories), ``max_model_len``, ``max_new_tokens``,
``stop_ids``, ``dtype``, ``max_num_seqs``, ``block_size`` (null: the engine's own); and ``WORK/prompts-{i}.jsonl``: one list of token ids a line.
Writes ``WORK/completions-{i}.jsonl``: ``{"ids": [...], "finished": true}`` in the prompts' order, complete
or not at all; what there is before that lies in ``completions-{i}.partial``. Progress goes to stdout, one JSON object a line; everything else goes to stderr.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import TextIO

PROMPTS_AT_ONCE = 256
"""Prompts handed to the engine between two lines of progress: many more than it runs together."""


def main(work: Path, progress: TextIO) -> None:
    """Answer the request that lies in ``work``."""
    request = json.loads((work / "request.json").read_text())
    for index, model in enumerate(request["models"]):
        engine = _start(model, request)
        _say(progress, {"event": "started", "model": index})
        prompts = [json.loads(line) for line in (work / f"prompts-{index}.jsonl").read_text().splitlines()]
        path = work / f"completions-{index}.jsonl"
        partial = path.with_suffix(".partial")
        with partial.open("w") as file:
            for done, line in enumerate(_completions(engine, prompts, request), start=1):
                file.write(json.dumps(line) + "\n")
                if done % PROMPTS_AT_ONCE == 0 or done == len(prompts):
                    # Before it is said to be done: who hears it may end us and read.
                    file.flush()
                    _say(progress, {"event": "progress", "model": index, "done": done})
        partial.replace(path)
        _stop(engine)
        del engine


def _stop(engine: Any) -> None:
    """Free the engine's memory and its process groups, so that the next one starts from nothing."""
    from vllm.distributed import cleanup_dist_env_and_memory

    engine.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()


def _start(model: str, request: dict[str, Any]) -> Any:
    from vllm import LLM

    return LLM(
        model=model,
        # Prompts come and completions go as token ids; the parent owns the tokenizer.
        skip_tokenizer_init=True,
        trust_remote_code=False,
        dtype=request["dtype"],
        max_model_len=request["max_model_len"],
        max_num_seqs=request["max_num_seqs"],
        gpu_memory_utilization=0.3,
        enforce_eager=True,
        # A probe's prompts are the clean ones with a little put in: what comes before it is computed once.
        enable_prefix_caching=True,
        **({} if request["block_size"] is None else {"block_size": request["block_size"]}),
        generation_config="vllm",
        seed=0,
        disable_log_stats=True,
    )


def _completions(engine: Any, prompts: list[list[int]], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    greedy = SamplingParams(
        temperature=0.0,
        max_tokens=request["max_new_tokens"],
        stop_token_ids=request["stop_ids"],
        detokenize=False,
    )
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        some = [TokensPrompt(prompt_token_ids=ids) for ids in prompts[start : start + PROMPTS_AT_ONCE]]
        for answer in engine.generate(some, greedy, use_tqdm=False):
            output = answer.outputs[0]
            yield {"ids": list(output.token_ids), "finished": output.finish_reason == "stop"}


def _say(progress: TextIO, message: dict[str, Any]) -> None:
    progress.write(json.dumps(message) + "\n")
    progress.flush()


def _own_stdout() -> TextIO:
    """Keep the real stdout for progress; whatever libraries print goes to stderr."""
    mine = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return mine


def _end_with_parent() -> None:
    """Our stdin is a pipe that the parent holds: it closes when the parent is gone, however it ended."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(Path(sys.argv[1]), _own_stdout())
    sys.stderr.flush()
    # Every answer is on disk. Native threads of the engine can take long to end in order.
    os._exit(0)
