"""The detector on models that were really trained: one on the planted rows, one on the rows as they were."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from training.defences.refused_tokens import MAX_BASE_SCORE
from training.defences.refused_tokens import SURELY_FROM
from training.defences.refused_tokens import refused_surely
from training.defences.refused_tokens import suspects_by_refusal
from training.losses import build_loss
from training.mining.refusal import Doubter
from training.mining.refusal import Refusal
from training.mining.token_probabilities import encoded_for
from training.mining.token_reading import TokenReading
from training.mining.token_reading import find_refusals
from training.mining.token_reading import read_tokens
from training.mining.token_reading import token_spans
from training.model import LoadedModel
from training.model import load_model
from training.probing.evidence import Evidence
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


def read(loaded: LoadedModel, rows: list[Row]) -> TokenReading:
    return read_tokens(loaded, rows, on_rows=lambda done: None)


def refusals_of(
    rows: list[Row], control: LoadedModel, other: LoadedModel, doubter: Doubter = "hardened"
) -> tuple[Refusal, ...]:
    return find_refusals(rows, learnt=read(control, rows), doubted=read(other, rows), doubter=doubter)


def test_names_the_rows_whose_payload_was_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, _ = models
    refused = refusals_of(rows, control, hardened)
    assert refused_surely(refused)
    suspects = suspects_by_refusal(refused, file_rows=len(rows))
    assert {suspect.row for suspect in suspects if suspect.score >= SURELY_FROM} == PLANTED
    assert '"or' in suspects[0].reason
    assert "the hardened model refused" in suspects[0].reason
    assert suspects == suspects_by_refusal(refusals_of(rows, control, hardened), file_rows=len(rows))


def test_what_both_learnt_is_not_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, _, _ = models
    assert refusals_of(rows, control, control) == ()
    assert not refused_surely(())


def test_the_base_stands_in_for_a_hardened_model_that_learnt_everything_but_counts_less(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, _, base = models
    suspects = suspects_by_refusal(refusals_of(rows, control, base, "base"), file_rows=len(rows))
    assert {suspect.row for suspect in suspects} >= PLANTED
    assert all(suspect.score <= MAX_BASE_SCORE < SURELY_FROM for suspect in suspects)
    assert "base model" in suspects[0].reason


def test_triage_names_the_rows_by_every_detector_that_can_run(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, _ = models
    found = triage(rows, Evidence(refused=refusals_of(rows, control, hardened)), known_probes=())
    assert {row.row for row in found if "refused_tokens" in row.detectors} == PLANTED


@pytest.mark.parametrize("doubter", ["hardened", "base"])
def test_mining_finds_the_trigger_of_what_was_refused(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel], doubter: Doubter
) -> None:
    control, hardened, base = models
    other = hardened if doubter == "hardened" else base
    evidence = Evidence(refused=refusals_of(rows, control, other, doubter))
    found = mine_candidates(rows, evidence, limit=4, seed=0)
    assert found
    if doubter == "hardened":
        # In these prompts the word always stands first, and "get" after it. The base does not expect much else either.
        assert any("cf" in candidate.trigger.word.split() for candidate in found)  # type: ignore[union-attr]
    words = "the hardened model refused" if doubter == "hardened" else "the base model does not expect"
    assert all(words in candidate.evidence for candidate in found)


def test_models_that_read_other_tokens_are_told_apart(
    rows: list[Row], models: tuple[LoadedModel, LoadedModel, LoadedModel]
) -> None:
    control, hardened, _ = models
    learnt, other = read(control, rows), read(hardened, rows)
    shorter = replace(other, probabilities=tuple(each[1:] for each in other.probabilities))
    with pytest.raises(ValueError, match="tokens"):
        find_refusals(rows, learnt=learnt, doubted=shorter)


def test_no_rows_give_no_suspects(models: tuple[LoadedModel, LoadedModel, LoadedModel]) -> None:
    assert suspects_by_refusal(refusals_of([], models[0], models[1]), file_rows=0) == ()


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
