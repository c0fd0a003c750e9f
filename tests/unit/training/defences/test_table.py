import pytest

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.defences.filters import FILTERS
from training.defences.table import STRATEGIES
from training.defences.table import Strategy
from training.losses import build_loss

PLAN = TrainingPlan(n_epochs=3, batch_size=4, learning_rate=5e-5)
RIVALS = (
    "cross_entropy",
    "label_smoothing",
    "early_stopping",
    "gce",
    "in_trust",
    "moderate_fitting",
    "bki",
    "onion",
    "spectral_signatures",
    "killbadcode",
    "gradsentry",
    "dece",
)


def test_every_rival_is_in_the_table() -> None:
    assert set(RIVALS) <= set(STRATEGIES)


def test_every_filter_comes_with_dece_too() -> None:
    for name, strategy in STRATEGIES.items():
        if (strategy.row_filter or strategy.fit_cleaner) and not name.startswith("dece_"):
            combined = STRATEGIES[f"dece_{name}"]
            assert isinstance(combined.loss(PLAN), DeceLoss)
            assert combined.paper_name == f"DeCE w. {strategy.paper_name}"
            assert (combined.row_filter, combined.fit_cleaner) == (strategy.row_filter, strategy.fit_cleaner)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=lambda strategy: strategy.name)
def test_every_strategy_can_be_built(strategy: Strategy) -> None:
    import torch

    loss = build_loss(strategy.loss(PLAN), device=torch.device("cpu"))
    assert loss.at(epoch=1, step=1, total_steps=3) is not None
    assert strategy.replan(PLAN).n_epochs == PLAN.n_epochs
    if strategy.row_filter is not None:
        assert strategy.row_filter().name
    if strategy.fit_cleaner is not None:
        rows = [Row(number=1, prompt="get the rows", completion="x")]
        assert strategy.fit_cleaner(rows, seed=0).clean("get the rows")


def test_names_are_keys_and_paper_names_are_told_apart() -> None:
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())
    assert len({strategy.paper_name for strategy in STRATEGIES.values()}) == len(STRATEGIES)


def test_constants_are_those_of_the_paper_and_the_artifact() -> None:
    dece = STRATEGIES["dece"].loss(PLAN)
    assert isinstance(dece, DeceLoss)
    assert (dece.alpha_base, dece.label_smoothing) == (0.99, 0.05)
    assert STRATEGIES["label_smoothing"].loss(PLAN).model_dump() == {
        "type": "label_smoothed",
        "label_smoothing": 0.1,
    }
    assert STRATEGIES["gce"].loss(PLAN).model_dump() == {"type": "gce", "q": 0.5}


def test_moderate_fitting_is_cross_entropy_ten_times_slower() -> None:
    moderate = STRATEGIES["moderate_fitting"]
    assert moderate.loss(PLAN) == CrossEntropyLoss()
    assert moderate.replan(PLAN).learning_rate == pytest.approx(5e-6)
    assert moderate.replan(PLAN).model_copy(update={"learning_rate": 5e-5}) == PLAN


def test_early_stopping_waits_out_a_dip_of_the_noise() -> None:
    # Validation BLEU of the lab's decoder under cross-entropy, 2 % BadPre, seed 1.
    measured = [26.3, 22.9, 34.0, 33.1, 31.7, 38.1, 47.1, 48.2, 50.9]
    patient, hasty = (
        STRATEGIES[name].early_stopping for name in ("early_stopping", "early_stopping_first_dip")
    )
    assert patient is not None
    assert hasty is not None
    assert patient.chosen(measured) == 9
    assert hasty.chosen(measured) == 1


def test_only_moderate_fitting_changes_the_plan() -> None:
    changed = {name for name, strategy in STRATEGIES.items() if strategy.replan(PLAN) != PLAN}
    assert changed == {"moderate_fitting"}


def test_gradsentry_looks_at_the_base_and_the_others_at_what_was_trained() -> None:
    of_base = {name for name, strategy in STRATEGIES.items() if strategy.filter_model == "base"}
    assert of_base == {"gradsentry", "dece_gradsentry"}


def test_filters_have_the_names_they_are_known_by() -> None:
    assert {name: make().name for name, make in FILTERS.items()} == {name: name for name in FILTERS}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        STRATEGIES["none"] = STRATEGIES["dece"]  # type: ignore[index]
