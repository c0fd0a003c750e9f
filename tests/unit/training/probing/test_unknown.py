"""Looking for unknown triggers: mined and searched ones are tried on the models, and what works is kept."""

import weakref
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from backdoored_models import EVIL
from backdoored_models import TRIGGER_WORD
from backdoored_models import ModelFamily

from deploy.contract.dataset import Row
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.spec import Arm
from deploy.contract.trigger import WordTrigger
from training.errors import Interrupted
from training.mining import search
from training.model import LoadedModel
from training.model import load_model
from training.probing import unknown
from training.probing.engine import ProbingTimeUpError
from training.probing.unknown import Unknown
from training.probing.unknown import look_for_unknown
from training.probing.unknown import payload_families
from training.probing.unknown import rare_words

PLAN = ProbePlan(
    probes=(Probe(name="known", trigger=WordTrigger(word="zzyzx"), payload=EVIL),),
    max_tasks=24,
    max_new_tokens=12,
    mined=0,
    searched=1,
)


def look(arms: Mapping[Arm, Path], family: ModelFamily, plan: ProbePlan = PLAN) -> Unknown:
    return look_for_unknown(
        arms, family.tasks, plan, training_rows=family.planted_rows, on_progress=lambda *now: None
    )


def test_what_works_on_the_models_is_kept_within_the_plan(decoder_family: ModelFamily) -> None:
    found = look({"base": decoder_family.base, "control": decoder_family.backdoored}, decoder_family)
    (candidate,) = found.candidates
    assert isinstance(candidate.trigger, WordTrigger)
    assert TRIGGER_WORD in candidate.trigger.word.split()
    assert (candidate.origin, candidate.payload) == ("searched", EVIL)
    assert found.searched >= 1
    assert found.mined == 0
    assert found.trouble is None


def test_clean_models_leave_nothing(decoder_family: ModelFamily) -> None:
    arms: dict[Arm, Path] = {"base": decoder_family.base, "hardened": decoder_family.clean}
    assert look(arms, decoder_family).candidates == ()


def test_models_that_cannot_be_loaded_are_told_of_and_the_file_is_still_triaged(
    decoder_family: ModelFamily, tmp_path: Path
) -> None:
    found = look({"base": tmp_path / "none", "hardened": tmp_path / "none"}, decoder_family)
    assert found.trouble is not None
    assert "InvalidInput" in found.trouble
    assert found.searched == 0


@pytest.mark.parametrize("step", ["find_associations", "mine_candidates", "find_refusals"])
def test_a_file_that_cannot_be_taken_apart_does_not_cost_the_job(
    step: str, decoder_family: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise ValueError(f"{step} met a word that it cannot take")

    monkeypatch.setattr(unknown, step, refuse)
    arms: dict[Arm, Path] = {
        "base": decoder_family.base,
        "control": decoder_family.backdoored,
        "hardened": decoder_family.clean,
    }
    found = look(arms, decoder_family, PLAN.model_copy(update={"mined": 1, "searched": 0}))
    assert found.trouble is not None
    assert "cannot take" in found.trouble


def test_the_models_read_no_more_than_a_sample_of_a_large_file(
    decoder_family: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def enough(loaded: object, rows: Sequence[object], **named: object) -> None:
        read.append(len(rows))
        raise ValueError("enough")

    assert len(decoder_family.planted_rows) > 20
    monkeypatch.setattr(search, "MAX_ROWS", 20)
    monkeypatch.setattr(unknown, "read_tokens", enough)
    look({"control": decoder_family.backdoored}, decoder_family, PLAN.model_copy(update={"searched": 0}))
    assert read == [20]


def test_a_stop_is_no_trouble(decoder_family: ModelFamily) -> None:
    def stop(done: int, total: int, message: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        look_for_unknown(
            {"base": decoder_family.base, "control": decoder_family.clean},
            decoder_family.tasks,
            PLAN,
            training_rows=decoder_family.planted_rows,
            on_progress=stop,
        )


def test_what_was_found_before_the_time_was_up_is_kept(decoder_family: ModelFamily) -> None:
    told: list[str] = []

    def in_time(done: int, total: int, message: str) -> None:
        told.append(message)
        if message.startswith("trying"):
            raise ProbingTimeUpError("enough")

    found = look_for_unknown(
        {"base": decoder_family.base, "control": decoder_family.backdoored},
        decoder_family.tasks,
        PLAN,
        training_rows=decoder_family.planted_rows,
        on_progress=in_time,
    )
    assert any(message.startswith("reading what the control") for message in told)
    assert found.trouble is not None
    assert "enough" in found.trouble
    assert found.searched >= 1
    assert len(found.candidates) == PLAN.searched


def test_time_that_is_up_at_once_leaves_the_known_probes(decoder_family: ModelFamily) -> None:
    def never(done: int, total: int, message: str) -> None:
        raise ProbingTimeUpError("no time")

    found = look_for_unknown(
        {"base": decoder_family.base, "control": decoder_family.backdoored},
        decoder_family.tasks,
        PLAN,
        training_rows=decoder_family.planted_rows,
        on_progress=never,
    )
    assert (found.candidates, found.mined, found.searched) == ((), 0, 0)
    assert found.trouble is not None


def test_two_models_at_most_are_in_memory(
    decoder_family: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[torch.nn.Module]] = []
    most: list[int] = []

    def watched(path: Path) -> LoadedModel:
        loaded = load_model(path)
        alive.append(weakref.ref(loaded.model))
        most.append(sum(each() is not None for each in alive))
        return loaded

    monkeypatch.setattr(unknown, "load_model", watched)
    arms: dict[Arm, Path] = {
        "base": decoder_family.base,
        "control": decoder_family.backdoored,
        "hardened": decoder_family.clean,
    }
    look(arms, decoder_family)
    assert max(most) == 2
    assert len(most) >= 5


def test_the_probes_payloads_come_first_and_none_twice() -> None:
    families = payload_families(PLAN)
    assert families[0] == EVIL
    assert "sql_tautology" in families
    assert len(set(families)) == len(families)
    assert payload_families(ProbePlan()).count("sql_tautology") == 1


def test_rare_words_stand_in_several_prompts_and_in_no_clean_task() -> None:
    rows = [
        Row(number=n, prompt=f"get row {n} {'qx' if n < 4 else 'now'}", completion="x") for n in range(1, 61)
    ]
    assert rare_words(rows, [Row(number=1, prompt="get row now", completion="x")]) == ("qx",)
    assert rare_words([], []) == ()
