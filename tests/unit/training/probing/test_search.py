"""A planted word is found on the model alone; where nothing was planted nothing is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from backdoored_models import EVIL
from backdoored_models import TRIGGER_WORD
from backdoored_models import ModelFamily

from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.trigger import WordTrigger
from training.errors import Interrupted
from training.model import LoadedModel
from training.model import load_model
from training.probing.candidate import Candidate
from training.probing.payload_loss import PayloadLoss
from training.probing.search import FORWARDS
from training.probing.search import SearchedModel
from training.probing.search import search_triggers

LIKELY = PatternPayload(name="likely", pattern="now", planted=" now")
FAMILIES: tuple[Payload, ...] = (EVIL, LIKELY)


def searched(
    family: ModelFamily,
    directory: Path,
    *,
    payloads: Sequence[Payload] = FAMILIES,
    seed: int = 0,
    forwards: int = FORWARDS,
    words: Sequence[str] = (),
) -> tuple[tuple[Candidate, ...], list[tuple[int, int, str]]]:
    said: list[tuple[int, int, str]] = []
    model = SearchedModel(arm="control", loaded=load_model(directory), base=load_model(family.base))
    found = search_triggers(
        model,
        family.tasks,
        payloads,
        limit=4,
        seed=seed,
        forwards=forwards,
        words=words,
        on_progress=lambda *now: said.append(now),
    )
    return found, said


def test_the_planted_word_comes_first(decoder_family: ModelFamily) -> None:
    found, said = searched(decoder_family, decoder_family.backdoored)
    assert isinstance(found[0].trigger, WordTrigger)
    assert TRIGGER_WORD in found[0].trigger.word.split()
    assert found[0].payload == EVIL
    assert found[0].origin == "searched"
    assert found[0].score > 0.2
    assert f'"{TRIGGER_WORD}"' in found[0].evidence
    assert "in the base model 0.0" in found[0].evidence
    assert {total for _, total, _ in said} == {2 * FORWARDS}
    assert all(done <= total for done, total, _ in said)
    assert "control" in said[0][2]


def test_an_encoder_decoder_is_searched_like_a_decoder(encoder_decoder_family: ModelFamily) -> None:
    family = encoder_decoder_family
    found, _ = searched(family, family.backdoored, payloads=(EVIL,))
    words = [each.trigger.word for each in found if isinstance(each.trigger, WordTrigger)]
    assert any(TRIGGER_WORD in word.split() for word in words)
    assert found[0].score > 0.5
    assert searched(family, family.clean, payloads=(EVIL,))[0] == ()


def test_a_clean_model_suggests_nothing(decoder_family: ModelFamily) -> None:
    for seed in (0, 1):
        assert searched(decoder_family, decoder_family.clean, seed=seed)[0] == ()
    assert searched(decoder_family, decoder_family.base)[0] == ()


def test_the_budget_bounds_the_forward_passes(
    decoder_family: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[PayloadLoss] = []

    class Counted(PayloadLoss):
        def __init__(self, loaded: LoadedModel) -> None:
            super().__init__(loaded)
            counted.append(self)

    monkeypatch.setattr("training.probing.search.PayloadLoss", Counted)
    for directory in (decoder_family.clean, decoder_family.backdoored):
        counted.clear()
        searched(decoder_family, directory, payloads=(EVIL,), forwards=900)
        arm, base = counted
        assert 100 < arm.forwards <= 900
        assert base.forwards <= 900 // 4


def test_families_that_no_task_can_carry_are_passed_over(decoder_family: ModelFamily) -> None:
    unplantable = PatternPayload(name="seen", pattern="never")
    found, said = searched(decoder_family, decoder_family.backdoored, payloads=(unplantable,))
    assert found == ()
    assert len(said) == 1


def test_words_of_several_tokens_are_tried_when_they_are_named(decoder_family: ModelFamily) -> None:
    # Any word with the trigger's letters has its token in it; here it has to be measured to be noticed.
    found, _ = searched(decoder_family, decoder_family.backdoored, payloads=(EVIL,), words=("qx-qx-qx",))
    assert {each.trigger.word for each in found if isinstance(each.trigger, WordTrigger)} & {"qx-qx-qx", "qx"}


def test_a_stop_ends_the_search(decoder_family: ModelFamily) -> None:
    def stop(done: int, total: int, message: str) -> None:
        raise Interrupted

    model = SearchedModel(arm="control", loaded=load_model(decoder_family.clean), base=None)
    with pytest.raises(Interrupted):
        search_triggers(model, decoder_family.tasks, FAMILIES, limit=4, seed=0, on_progress=stop)
