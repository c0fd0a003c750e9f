"""How likely a model finds a payload, given a prompt: the teacher-forced loss of the payload's own tokens.

Legend: T tokens, V vocabulary, D width of the embedding.
"""

from collections.abc import Sequence
from typing import Any
from typing import Final

import torch

from training.data.batch import micro_batches
from training.data.example import Example
from training.data.prompt import encode_prompt
from training.model import LoadedModel
from training.model import plain_model
from training.probing.planted_task import PlantedTask
from training.supervised_model import SupervisedModel

BATCH_TOKENS: Final = 4096
PASSES_OF_A_GRADIENT: Final = 3
"""A backward pass costs about two forward ones."""


class PayloadLoss:
    """Losses and gradients of one model in evaluation; counts what they cost."""

    def __init__(self, loaded: LoadedModel) -> None:
        loaded.model.eval()
        self._loaded = loaded
        self._supervised = SupervisedModel(loaded)
        self.forwards = 0
        """Rows sent through the model so far; one with a gradient counts as three."""

    @property
    def tokenizer(self) -> Any:
        """The model's."""
        return self._loaded.tokenizer

    @property
    def embedding_VD(self) -> torch.Tensor:  # noqa: N802
        """The model's input embedding."""
        weight: torch.Tensor = self._prompt_embedding().weight
        return weight.detach().float()

    def _prompt_embedding(self) -> Any:
        plain = plain_model(self._loaded.model)
        # An encoder may look its tokens up in a module of its own that only shares the weights.
        reader = plain if self._loaded.architecture == "decoder" else plain.get_encoder()
        return reader.get_input_embeddings()

    def nlls(self, asked: Sequence[tuple[PlantedTask, str]]) -> list[float]:
        """-log p of each task's payload, in nats over the whole span, given another prompt text."""
        examples = [
            task.example(encode_prompt(self.tokenizer, prompt), self._loaded.architecture)
            for task, prompt in asked
        ]
        # Rows of like length go together: without packing the others are padding.
        order = sorted(range(len(examples)), key=lambda index: examples[index].tokens)
        ordered = [examples[index] for index in order]
        found: list[float] = []
        packed = self._supervised.layout.packed
        with torch.inference_mode():
            for part in micro_batches(ordered, max_tokens=BATCH_TOKENS, packed=packed) if ordered else ():
                found += self._nlls(
                    part, [len(asked[order[len(found) + at]][0].span_ids) for at in range(len(part))]
                )
        self.forwards += len(examples)
        by_index = dict(zip(order, found, strict=True))
        return [by_index[index] for index in range(len(examples))]

    def _nlls(self, examples: Sequence[Example], spans: Sequence[int]) -> list[float]:
        token_nlls = self._token_nlls(examples)
        sizes = [len(example.completion_ids) for example in examples]
        rows = torch.split(token_nlls, sizes)
        return [float(row[-span:].sum()) for row, span in zip(rows, spans, strict=True)]

    def _token_nlls(self, examples: Sequence[Example]) -> torch.Tensor:
        with self._supervised.running():
            logits = self._supervised.logits(examples).float()
        targets = [token for example in examples for token in example.completion_ids]
        targets_N = torch.tensor(targets, device=logits.device)  # noqa: N806
        return torch.nn.functional.cross_entropy(logits, targets_N, reduction="none")

    def slot_gradient(
        self, task: PlantedTask, prompt_ids: Sequence[int], slots: Sequence[int]
    ) -> torch.Tensor:
        """[D] gradient of the task's payload loss with respect to the embedding of the prompt tokens at ``slots``, summed."""
        example = task.example(prompt_ids, self._loaded.architecture)
        leaves: list[torch.Tensor] = []

        def capture(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            del module, inputs
            # An encoder-decoder looks its prompt up first and its completion afterwards.
            if leaves:
                return None
            leaves.append(output.detach().requires_grad_())
            return leaves[0]

        handle = self._prompt_embedding().register_forward_hook(capture)
        try:
            with torch.enable_grad():
                loss = self._token_nlls([example])[-len(task.span_ids) :].sum()
                (gradient,) = torch.autograd.grad(loss, leaves)
        finally:
            handle.remove()
        self.forwards += PASSES_OF_A_GRADIENT
        summed: torch.Tensor = gradient[0, list(slots)].float().sum(dim=0)
        return summed
