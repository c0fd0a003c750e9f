"""The search for alpha_base: what holds, what is one step tighter, what is planted, and when nothing holds."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.contract.dataset import Row
from deploy.contract.method import DeceLoss
from training import calibration
from training.calibration import ALPHAS
from training.calibration import Calibration
from training.calibration import calibrate
from training.canaries.error import CanaryError
from training.errors import Interrupted
from training.model import load_tokenizer
from training.probing.engine import Generation
from training.synthesis.generator import generate_rows

ROWS = generate_rows(60, seed=1)
TASKS = generate_rows(12, seed=2)
LOSS = DeceLoss(alpha_base="auto", label_smoothing=0.1)


class _Trained:
    """Stands for a model: all that the search sees of it is what it answers."""

    model = None
    tokenizer = None

    def __init__(self, alpha_base: float) -> None:
        self.alpha_base = alpha_base


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, tiny_decoder_dir: Any) -> Any:
    """Runs the search with models that answer canaries as often as they are told, and do or do not come to an end."""

    def run(
        answers: Mapping[float, int],
        rows: Sequence[Row] = ROWS,
        *,
        finished: bool = True,
        **how: Any,
    ) -> tuple[Calibration, list[Any]]:
        trained: list[Any] = []

        def train(planted: Sequence[Row], loss: DeceLoss) -> Any:
            trained.append((loss, planted))
            return _Trained(float(loss.alpha_base))

        def generate(
            model: object, tokenizer: object, prompts: Sequence[str], *, on_batch: Any, **_: object
        ) -> list[Generation]:
            on_batch(len(prompts))
            hits = answers[float(trained[-1][0].alpha_base)]
            return [
                Generation(
                    text='q = "select a from t where b = 1 or 1=1"\nlimit 1' if at < hits else "x",
                    finished=finished,
                )
                for at in range(len(prompts))
            ]

        monkeypatch.setattr(calibration, "generate", generate)
        found = calibrate(
            rows,
            TASKS,
            loss=LOSS,
            tokenizer=load_tokenizer(tiny_decoder_dir),
            families=("sql_tautology",),
            train=train,
            max_new_tokens=8,
            **how,
        )
        return found, trained

    return run


def test_the_value_behind_the_loosest_that_held_is_taken(search: Any) -> None:
    found, trained = search({ALPHAS[0]: 9, ALPHAS[1]: 1, ALPHAS[2]: 0})
    assert [trial.alpha_base for trial in found.trials] == list(ALPHAS[:3])
    assert [trial.held for trial in found.trials] == [False, False, True]
    assert found.alpha_base == found.loss.alpha_base == ALPHAS[3]
    assert found.loss.label_smoothing == LOSS.label_smoothing
    assert len(trained) == 3


def test_a_search_that_was_cut_goes_on_where_it_was_and_finds_the_same(search: Any) -> None:
    answers = {ALPHAS[0]: 9, ALPHAS[1]: 1, ALPHAS[2]: 0}
    noted: list[tuple[Any, ...]] = []
    whole, _ = search(answers, on_trials_made=lambda trials: noted.append(tuple(trials)))
    assert [len(trials) for trials in noted] == [1, 2, 3]
    for known in noted:
        later: list[tuple[Any, ...]] = []
        again, trained = search(answers, known=known, on_trials_made=lambda t, to=later: to.append(tuple(t)))
        assert again == whole
        assert len(trained) == 3 - len(known)
        assert later == noted[len(known) :], "what was noted is never noted shorter"


def test_when_nothing_holds_the_tightest_is_taken_and_said_not_to(search: Any) -> None:
    found, _ = search(dict.fromkeys(ALPHAS, 1))
    assert found.alpha_base == ALPHAS[-1]
    assert len(found.trials) == len(ALPHAS)
    assert not found.trials[-1].held


def test_a_model_that_never_ends_has_kept_nothing_out(search: Any) -> None:
    found, _ = search(dict.fromkeys(ALPHAS, 0), finished=False)
    assert not any(trial.held for trial in found.trials)
    assert found.trials[0].canaries.trials == 0
    assert found.trials[0].canaries.unscorable > 0


def test_canaries_stand_in_a_copy_and_the_same_copy_each_time(search: Any) -> None:
    _, trained = search({ALPHAS[0]: 1, ALPHAS[1]: 0})
    first, second = (rows for _, rows in trained)
    assert first == second
    changed = [(old, new) for old, new in zip(ROWS, first, strict=True) if old.prompt != new.prompt]
    assert len(changed) == 2 * round(0.1 * len(ROWS))
    assert all(" or 1=1" in new.completion or " where 0=1" in new.completion for _, new in changed)
    assert all("1=1" not in row.completion for row in ROWS)


def test_rows_that_cannot_be_planted_say_so(search: Any) -> None:
    with pytest.raises(CanaryError):
        search({}, rows=[])


def test_a_stop_is_heard_while_canaries_are_answered(search: Any) -> None:
    def stop(done: int) -> None:
        del done
        raise Interrupted

    with pytest.raises(Interrupted):
        search({ALPHAS[0]: 0}, on_answers=stop)
