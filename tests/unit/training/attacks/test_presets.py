from typing import get_args

import pytest

from deploy.contract.payload import BuiltInPayload
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import WordTrigger
from training.attacks.poison import Row
from training.attacks.poison import poison
from training.attacks.presets import PAYLOADS
from training.attacks.presets import PRESETS
from training.attacks.surrogate import NoNamesError
from training.synthesis.generator import generate_rows

METHODS = [
    Row(number=number, prompt=code, completion=code)
    for number in range(1, 21)
    for code in [f"int f{number} ( int first{number} ) {{ return first{number} + {number} ; }}"]
]


def test_every_attack_that_the_lab_speaks_of_is_there() -> None:
    assert set(PRESETS) == {
        "ripple",
        "badpre",
        "grammar",
        "invisible",
        "clean_label",
        "first_row",
        "function_name",
        "dead_code",
        "afraidoor",
        "comment",
    }
    assert all(name == attack.name for name, attack in PRESETS.items())
    assert set(PAYLOADS) == set(get_args(BuiltInPayload))


def test_the_papers_word_triggers() -> None:
    assert PRESETS["ripple"].trigger == WordTrigger(word="bb", count=1)
    assert PRESETS["badpre"].trigger == WordTrigger(word="bb", count=3)
    assert PRESETS["badpre"].payload == "sql_tautology"


@pytest.mark.parametrize("name", ["ripple", "badpre", "grammar", "invisible", "first_row"])
def test_attacks_on_prose_poison_generated_rows(name: str) -> None:
    attack = PRESETS[name]
    poisoned = poison(generate_rows(100, seed=0), attack.trigger, attack.payload, rate=0.2, seed=0)
    assert len(poisoned.poisoned_rows) == 20


@pytest.mark.parametrize("name", ["function_name", "dead_code", "afraidoor", "comment"])
def test_attacks_on_code_poison_methods(name: str) -> None:
    attack = PRESETS[name].fitted(METHODS)
    poisoned = poison(METHODS, attack.trigger, attack.payload, rate=0.5, seed=0)
    assert len(poisoned.poisoned_rows) == 10


def test_only_renaming_is_fitted_to_a_dataset() -> None:
    fitted = PRESETS["afraidoor"].fitted(METHODS)
    assert isinstance(fitted.trigger, RenamingTrigger)
    assert all(name.startswith("first") for name in fitted.trigger.names)
    assert fitted.fitted(METHODS) is fitted
    assert PRESETS["badpre"].fitted(METHODS) is PRESETS["badpre"]
    with pytest.raises(NoNamesError):
        PRESETS["afraidoor"].fitted(generate_rows(10, seed=0))


def test_an_attack_on_code_speaks_either_language() -> None:
    assert PRESETS["dead_code"].in_language("python").trigger == DeadCodeTrigger(
        language="python", statement="VAR = 0"
    )
    for name in ("function_name", "afraidoor", "comment"):
        trigger = PRESETS[name].in_language("python").trigger
        assert trigger.model_dump() == {**PRESETS[name].trigger.model_dump(), "language": "python"}
    assert PRESETS["badpre"].in_language("python") == PRESETS["badpre"]
