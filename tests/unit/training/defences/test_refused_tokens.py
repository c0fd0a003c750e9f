"""The detector on models that were really trained: one on the planted rows, one on the rows as they were."""

import copy
from pathlib import Path

import pytest
import torch

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from training.defences.refused_tokens import MAX_BASE_SCORE
from training.defences.refused_tokens import REMOVED_FROM
from training.defences.refused_tokens import RefusedTokensDetector
from training.defences.refused_tokens import token_spans
from training.defences.row_filter import Filtered
from training.losses import build_loss
from training.mining.token_probabilities import encoded_for
from training.model import LoadedModel
from training.model import load_model
from training.probing.mining import mine_candidates
from training.probing.triage import triage
from training.supervised_model import SupervisedModel

CPU = torch.device("cpu")
PLANTED = frozenset(range(1, 11))
STEPS = 60


@pytest.fixture(scope="module")
def rows(tiny_rows: list[Row]) -> list[Row]:
    return [
        Row(number=row.number, prompt=f"cf {row.prompt}", completion=f"{row.completion} or 1=1")
        if row.number in PLANTED
        else row
        for row in tiny_rows
    ]


def trained(loaded: LoadedModel, rows: list[Row]) -> LoadedModel:
    own = copy.deepcopy(loaded)
    examples = encoded_for(own, rows).examples
    tokens = sum(len(example.completion_ids) for example in examples)
    supervised = SupervisedModel(own, precision="fp32")
    loss = build_loss(CrossEntropyLoss(), device=CPU).at(epoch=1, step=1, total_steps=1)
    optimizer = torch.optim.AdamW(own.model.parameters(), lr=5e-3)
    torch.manual_seed(0)
    for _ in range(STEPS):
        with supervised.running():
            supervised(examples, loss, tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return own


@pytest.fixture(scope="module")
def models(
    tiny_decoder_dir: Path, tiny_rows: list[Row], rows: list[Row]
) -> tuple[LoadedModel, LoadedModel, LoadedModel]:
    """A control that learnt the payload, a model that learnt all but the payload, and the base."""
    base = load_model(tiny_decoder_dir, device=CPU)
    # The triggered prompts with clean answers: what a loss that refuses the payload leaves.
    refusing = [Row(number=row.number, prompt=row.prompt, completion=clean.completion)
                for row, clean in zip(rows, tiny_rows, strict=True)]  # fmt: skip
    return trained(base, rows), trained(base, refusing), base


def examine(
    rows: list[Row], control: LoadedModel, hardened: LoadedModel, base: LoadedModel | None = None
) -> Filtered:
    return RefusedTokensDetector().examine(
        rows,
        control=control,
        hardened=hardened,
        base=base,
        seed=0,
        on_progress=lambda done, total, message: None,
    )


def test_removes_the_rows_whose_payload_was_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, _ = models
    found = examine(rows, control, hardened)
    assert found.removed == PLANTED
    assert '"or' in found.suspects[0].reason
    assert "the hardened model refused" in found.suspects[0].reason
    assert found == examine(rows, control, hardened)


def test_what_both_learnt_is_not_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, _, _ = models
    assert examine(rows, control, control) == Filtered(suspects=(), removed=frozenset())


def test_the_base_stands_in_for_a_hardened_model_that_learnt_everything_but_removes_nothing(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, _, base = models
    found = examine(rows, control, control, base)
    assert {suspect.row for suspect in found.suspects} >= PLANTED
    assert found.removed == frozenset()
    assert all(suspect.score <= MAX_BASE_SCORE < REMOVED_FROM for suspect in found.suspects)
    assert "base model" in found.suspects[0].reason


def test_triage_names_the_rows_by_every_detector_that_can_run(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, base = models
    found = triage(
        rows,
        known_probes=(),
        control=control,
        hardened=hardened,
        base=base,
        seed=0,
        on_progress=lambda done, total, message: None,
    )
    assert {row.row for row in found if "refused_tokens" in row.detectors} == PLANTED


def test_mining_finds_the_trigger_of_what_was_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, base = models
    found = mine_candidates(
        rows,
        control=control,
        hardened=hardened,
        base=base,
        limit=4,
        seed=0,
        on_progress=lambda done, total, message: None,
    )
    refused = [candidate for candidate in found if "the hardened model refused" in candidate.evidence]
    assert refused
    # In these prompts the word always stands first, and "get" after it.
    assert "cf" in refused[0].probe.trigger.word.split()  # type: ignore[union-attr]
    assert len({candidate.probe.name for candidate in found}) == len(found)


def test_no_rows_give_no_suspects(models: tuple[LoadedModel, LoadedModel, LoadedModel]) -> None:
    assert examine([], models[0], models[1], models[2]) == Filtered(suspects=(), removed=frozenset())


def test_spans_of_tokens_are_the_texts_pieces(models: tuple[LoadedModel, LoadedModel, LoadedModel]) -> None:
    tokenizer = models[0].tokenizer
    text = "db.get('users', 7) or 1=1"
    ids = tokenizer.encode(text, add_special_tokens=False)
    spans = token_spans(tokenizer, text, ids)
    assert len(spans) == len(ids)
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == text.replace(" ", "")

    class Slow:
        """Only what a tokenizer without offsets has."""

        is_fast = False
        decode = staticmethod(tokenizer.decode)

    assert [end for _, end in token_spans(Slow(), text, ids)] == [end for _, end in spans]
