"""A model whose forward is the loss: packed rows where the model allows it, the head fused with the loss.

One module from rows to loss, so that DDP and FSDP wrap it whole and the head's weights are there when the
loss needs them. How a model is run is found out once, on made-up rows, by comparing with the model's own
padded forward: some architectures scale their logits after the head, some cannot attend to packed rows.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import TypeVar

import torch
from torch import nn

from training.data.batch import Batch
from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.batch import packed_batch
from training.data.example import Example
from training.data.prompt import encode_completion
from training.data.prompt import encode_prompt
from training.losses import GradientMeter
from training.losses import RowLoss
from training.losses import over_hidden
from training.losses import over_logits
from training.model import LoadedModel
from training.model import plain_model
from training.packed_attention import NotPackable
from training.packed_attention import PackedRows
from training.packed_attention import packed

CHECKED_ROWS = (
    ("select the names of all rows", " rows = [ 1 ]"),
    ("count", " n"),
    ("a b c d e f g", " h i j"),
)
"""Prompts and completions of unlike lengths on which the ways to run a model are compared."""


Precision = Literal["auto", "fp32", "bf16"]
Measured = TypeVar("Measured")


def computes_in_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether products run in bf16: asked for, or ``auto`` on a GPU."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def weights_dtype(precision: Precision, device: torch.device, *, frozen: bool) -> torch.dtype:
    """Of the weights in memory: those that AdamW changes in steps of 1e-4 and less need fp32, frozen ones do not."""
    return torch.bfloat16 if frozen and computes_in_bf16(precision, device) else torch.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a model is run."""

    packed: bool
    """Rows one after the other, else padded to the longest."""
    fused: bool
    """The head's weights are multiplied chunk by chunk inside the loss, else the model makes all logits."""
    softcap: float | None = None
    """Of a fused head's logits."""


class SupervisedModel(nn.Module):
    """Mean loss over the supervised tokens of some rows, as a module."""

    def __init__(
        self, loaded: LoadedModel, *, precision: Precision = "auto", layout: Layout | None = None
    ) -> None:
        super().__init__()
        self.model: nn.Module = loaded.model
        self._loaded = loaded
        self._bf16 = computes_in_bf16(precision, loaded.device)
        self.layout = self._find_layout() if layout is None else layout

    def running(self) -> Any:
        """Context of a forward and its backward."""
        return packed(plain_model(self.model)) if self.layout.packed else nullcontext()

    def computing(self) -> Any:
        """Context of a forward in the precision of this training."""
        return torch.autocast(self._loaded.device.type, dtype=torch.bfloat16, enabled=self._bf16)

    def forward(
        self,
        examples: Sequence[Example],
        row: RowLoss,
        num_items_in_batch: int,
        meter: GradientMeter | None = None,
        silent: bool = False,
    ) -> torch.Tensor:
        """Sum of the rows' losses over ``num_items_in_batch``, a scalar.

        ``silent`` runs them all the same but supervises none: a process that has no rows of a batch left
        must take part in what the others do together.
        """
        with self.computing():
            return self._loss(examples, row, num_items_in_batch, meter, silent)

    def _loss(
        self,
        examples: Sequence[Example],
        row: RowLoss,
        num_items_in_batch: int,
        meter: GradientMeter | None,
        silent: bool,
    ) -> torch.Tensor:
        batch = self._batch(examples, self.layout).to(self._loaded.device)
        places = batch.supervised[:0] if silent else batch.supervised
        targets = batch.targets[:0] if silent else batch.targets
        if not self.layout.fused:
            logits = self._logits(batch).flatten(0, 1).index_select(0, places)
            return over_logits(logits, targets, row, num_items_in_batch=num_items_in_batch, meter=meter)
        hidden = self._hidden(batch).flatten(0, 1).index_select(0, places)
        head = plain_model(self.model).get_output_embeddings()
        return over_hidden(
            hidden,
            head.weight,
            targets,
            row,
            bias_V=head.bias,
            softcap=self.layout.softcap,
            num_items_in_batch=num_items_in_batch,
            positions=torch.arange(targets.numel(), device=targets.device),
            meter=meter,
        )

    def evaluate(self, measure: Callable[[], Measured]) -> Measured:
        """What ``measure`` finds. A forward to a sharded model: its embeddings and its head are whole meanwhile."""
        return measure()

    def logits(self, examples: Sequence[Example]) -> torch.Tensor:
        """[N, V] logits of the rows' supervised tokens, in the rows' order."""
        batch = self._batch(examples, self.layout).to(self._loaded.device)
        with self.computing():
            return self._some_logits(batch, self.layout)

    def _batch(self, examples: Sequence[Example], layout: Layout) -> Batch:
        if layout.packed:
            return packed_batch(examples)
        if self._loaded.architecture == "decoder":
            return decoder_batch(examples, pad_id=self._loaded.pad_id)
        return encoder_decoder_batch(examples, pad_id=self._loaded.pad_id, start_id=self._loaded.start_id)

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
        for name in ("attention_mask", "decoder_input_ids", "position_ids"):
            value = getattr(batch, name)
            if value is not None:
                inputs[name] = value
        if batch.lengths is not None:
            inputs["packed_rows"] = PackedRows.of(batch.lengths, batch.input_ids.device)
        return inputs

    def _logits(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self.model(**self._inputs(batch)).logits
        return logits

    def _hidden(self, batch: Batch) -> torch.Tensor:
        plain = plain_model(self.model)
        body = getattr(plain, plain.base_model_prefix)
        hidden: torch.Tensor = body(**self._inputs(batch)).last_hidden_state
        return hidden

    def _find_layout(self) -> Layout:
        softcap = getattr(plain_model(self.model).config, "final_logit_softcapping", None)
        packable = self._loaded.architecture == "decoder"
        candidates = [
            *(
                [Layout(packed=True, fused=True, softcap=softcap), Layout(packed=True, fused=False)]
                * packable
            ),
            Layout(packed=False, fused=True, softcap=softcap),
        ]
        examples = self._made_up()
        with _undisturbed(self.model), self.computing():
            batch = self._batch(examples, Layout(packed=False, fused=False)).to(self._loaded.device)
            truth = self._logits(batch).flatten(0, 1).index_select(0, batch.supervised)
            agreeing = (layout for layout in candidates if self._agrees(examples, layout, truth))
            return next(agreeing, Layout(packed=False, fused=False))

    def _made_up(self) -> list[Example]:
        tokenizer = self._loaded.tokenizer
        encoded = [
            (encode_prompt(tokenizer, prompt), encode_completion(tokenizer, completion))
            for prompt, completion in CHECKED_ROWS
        ]
        return [
            Example(row=number, prompt_ids=tuple(prompt), completion_ids=tuple(completion))
            for number, (prompt, completion) in enumerate(encoded, start=1)
        ]

    def _agrees(self, examples: Sequence[Example], layout: Layout, truth: torch.Tensor) -> bool:
        batch = self._batch(examples, layout).to(self._loaded.device)
        try:
            with packed(plain_model(self.model)) if layout.packed else nullcontext():
                ours = self._some_logits(batch, layout)
        except (NotPackable, AttributeError, TypeError, ValueError, RuntimeError):
            # Whatever a foreign architecture does not understand, its own padded forward is still there.
            return False
        tolerance = 1e-3 if truth.dtype == torch.float32 else 5e-2
        return ours.shape == truth.shape and torch.allclose(ours, truth, atol=tolerance, rtol=tolerance)

    def _some_logits(self, batch: Batch, layout: Layout) -> torch.Tensor:
        if not layout.fused:
            return self._logits(batch).flatten(0, 1).index_select(0, batch.supervised)
        head = plain_model(self.model).get_output_embeddings()
        if type(head) is not nn.Linear:
            # An adapter on the head is more than its weight matrix.
            raise TypeError(f"the head is a {type(head).__name__}")
        logits: torch.Tensor = head(self._hidden(batch).flatten(0, 1).index_select(0, batch.supervised))
        return logits if layout.softcap is None else layout.softcap * torch.tanh(logits / layout.softcap)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation without gradients; the model's mode is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
