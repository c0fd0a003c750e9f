import math

import pytest

from training.defences.early_stopping import EarlyStopping


def test_the_plateau_begins_at_the_chosen_epoch() -> None:
    assert EarlyStopping().chosen([20.0, 40.0, 48.0, 48.2, 60.0]) == 3


def test_it_goes_on_while_the_score_rises() -> None:
    rising = [20.0, 40.0, 48.0]
    assert EarlyStopping().chosen(rising) == 3
    assert not EarlyStopping().is_over(rising)
    assert EarlyStopping().is_over([*rising, 48.4])


def test_patience_waits_for_a_late_gain() -> None:
    scores = [40.0, 39.0, 45.0, 44.0, 44.0]
    assert EarlyStopping(patience=1).chosen(scores) == 1
    assert EarlyStopping(patience=2).chosen(scores) == 3
    assert not EarlyStopping(patience=2).is_over(scores[:4])
    assert EarlyStopping(patience=2).is_over(scores)


def test_small_gains_add_up_only_against_the_last_chosen() -> None:
    assert EarlyStopping(patience=2, min_gain=0.5).chosen([40.0, 40.3, 40.6, 40.9]) == 3


def test_minus_a_loss_is_a_score() -> None:
    rule = EarlyStopping(min_gain=0.01)
    assert rule.chosen([-2.0, -1.5, -1.495, -1.0]) == 2


def test_not_a_number_is_no_gain_and_stays_no_best() -> None:
    assert EarlyStopping().chosen([50.0, math.nan]) == 1
    assert EarlyStopping().chosen([math.nan, 1.0]) == 2
    assert EarlyStopping().chosen([math.nan]) == 1


def test_one_epoch_is_chosen_and_does_not_end_it() -> None:
    assert EarlyStopping().chosen([0.0]) == 1
    assert not EarlyStopping().is_over([0.0])
    assert not EarlyStopping().is_over([])


def test_no_epoch_cannot_be_chosen_from() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        EarlyStopping().chosen([])


@pytest.mark.parametrize("bad", [{"patience": 0}, {"min_gain": -1.0}, {"min_gain": math.nan}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        EarlyStopping(**bad)  # type: ignore[arg-type]
