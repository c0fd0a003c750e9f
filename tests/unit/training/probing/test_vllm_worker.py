"""The real vLLM, on models whose greedy answers are known from the plainest decoding there is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from training.data.prompt import encode_prompt
from training.model import load_model
from training.probing.engine import Generation
from training.probing.transformers_engine import TransformersEngine
from training.probing.vllm_engine import VllmEngine

PROMPTS = [
    "get the user of the table",
    "a",
    "get the table where id is given and the user of the table where id is given",
    'c . execute ( " select',
    "where",
]
TIE = 1e-3
"""Two logits this close may swap places between kernels that add in another order."""


@torch.no_grad()
def is_greedy(directory: Path, prompt: str, generation: Generation) -> bool:
    """Whether every token of a completion is the likeliest one, or within a rounding error of it."""
    loaded = load_model(directory, device=torch.device("cpu"))
    ids = encode_prompt(loaded.tokenizer, prompt)
    written = loaded.tokenizer.encode(generation.text, add_special_tokens=False)
    logits = loaded.model.eval()(torch.tensor([ids + written])).logits[0, len(ids) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(written)[:, None])[:, 0]
    return bool((logits.max(dim=1).values - chosen < TIE).all())


def ask(scratch: Path, models: Sequence[Path]) -> list[list[Generation]]:
    engine = VllmEngine(scratch, stall_timeout_s=240)
    return engine.generate(models, PROMPTS, max_new_tokens=12, on_progress=lambda done, message: None)


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_vllm_answers_as_transformers_and_no_arm_as_another(
    tmp_path: Path, random_llamas: tuple[Path, Path]
) -> None:
    one, two = random_llamas
    # The third engine of the process must not remember the second, nor the second the first.
    first, second, again = ask(tmp_path, [one, two, one])
    assert first == again
    assert ask(tmp_path, [two]) == [second]
    reference = TransformersEngine().generate(
        [one, two], PROMPTS, max_new_tokens=12, on_progress=lambda done, message: None
    )
    for directory, ours, theirs in zip([one, two], [first, second], reference, strict=True):
        assert len({generation.text for generation in ours}) == len(PROMPTS)
        for prompt, mine, other in zip(PROMPTS, ours, theirs, strict=True):
            # After a tie the two go on from different texts, so an unequal answer is checked by itself.
            assert mine == other or is_greedy(directory, prompt, mine)
    assert list(tmp_path.iterdir()) == []
