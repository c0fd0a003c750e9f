"""alpha_base chosen by canaries: a step tighter than the loosest at which triggers of our own are not learnt.

Which alpha_base resists depends on what nobody knows beforehand: the poison rate, the learning rate, the length of
the training, how soon this model learns. So it is measured on the very training that is to be hardened: canaries are
planted into a copy of its rows at a rate above any attack that is to be withstood, and alpha_base is tightened, one
whole training a trial, until the copy's model no longer answers to them. The attacker's own trigger is not needed.

One more step is for chance, for two trainings of one kind differ: on Lyra the loosest value that held every canary
at 20 % let a real attack of 20 % reach 11 %.

Covers: attacks up to about the canaries' rate whose payload is as hard to learn as a canary's. Does not cover:
payloads that the model learns sooner than the canaries' (the report's probes are for those).
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import Row
from deploy.contract.method import DeceLoss
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.report import HELD_AT
from deploy.contract.report import AlphaTrial
from deploy.contract.report import Hits
from training.canaries.draw import draw_canaries
from training.canaries.planting import plant_canaries
from training.data.example import PromptedRow
from training.metrics.attack_success import count_hits
from training.metrics.attack_success import pooled
from training.model import LoadedModel
from training.probing.tasks import triggered_tasks
from training.probing.transformers_engine import generate

ALPHAS: Final = (0.99, 0.97, 0.95, 0.92, 0.88, 0.8, 0.6)
"""Tried from the loosest on. The paper recommends 0.985 to 0.995 and tries no poison rate above 5 %."""
CANARIES: Final = CanaryPlan(count=2, rate=0.1, seed=0)
"""Two canaries, each in a tenth of the rows. Above that a payload comes without its trigger too, for it is what the
rows say, and a row filter finds it sooner than a loss withstands it."""
MAX_UNSCORABLE: Final = 0.5
"""Share of a canary's prompts whose answers may be unscorable."""

Train = Callable[[Sequence[Row], DeceLoss], LoadedModel]
"""A whole training of the base model on rows with a loss."""
OnTrial = Callable[[str], None]
OnAnswers = Callable[[int], None]
"""Told every few seconds how many prompts a trial's model has answered. May raise, to stop."""
OnTrialsMade = Callable[[Sequence[AlphaTrial]], None]
"""Told all trials after every new one, those that were known before included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was chosen and why."""

    loss: DeceLoss
    """With the chosen alpha_base."""
    alpha_base: float
    trials: tuple[AlphaTrial, ...]
    """In the order in which they were made, up to the first that held; if the last did not, none does."""


def calibrate(
    rows: Sequence[PromptedRow],
    tasks: Sequence[PromptedRow],
    *,
    loss: DeceLoss,
    tokenizer: Any,
    families: Sequence[Payload],
    train: Train,
    max_new_tokens: int,
    plan: CanaryPlan = CANARIES,
    known: Sequence[AlphaTrial] = (),
    on_trial: OnTrial = lambda said: None,
    on_answers: OnAnswers = lambda done: None,
    on_trials_made: OnTrialsMade = lambda trials: None,
) -> Calibration:
    """Take the value behind the first of :data:`ALPHAS` at which the canaries are not learnt, or the last there is.

    Args:
        rows: the training file, whatever is in it.
        tasks: clean tasks that are not in it.
        loss: DeCE with its other constants.
        tokenizer: of the base model.
        families: payloads that the canaries may have.
        train: makes a model of rows with a loss.
        max_new_tokens: per answer.
        plan: the canaries.
        known: trials that were made before; they are not made again.
        on_trial: told what is happening.
        on_answers: told how far the answers are.
        on_trials_made: to remember them.

    Raises:
        CanaryError: the rows cannot be planted as asked.
    """
    drawn = draw_canaries(rows, plan, tokenizer=tokenizer, families=families).canaries
    planted = plant_canaries(rows, drawn, plan).rows
    asked = [
        (canary, [task.prompt for task in triggered_tasks(canary, tasks, seed=plan.seed)]) for canary in drawn
    ]
    made_before = {trial.alpha_base: trial for trial in known}
    trials: list[AlphaTrial] = []
    for alpha_base in ALPHAS:
        trial = made_before.get(alpha_base)
        is_new = trial is None
        if trial is None:
            on_trial(f"a trial of alpha_base {alpha_base:g} on canaries")
            loaded = train(planted, loss.model_copy(update={"alpha_base": alpha_base}))
            hits = [
                _answers(loaded, canary, prompts, limit=max_new_tokens, on_answers=on_answers)
                for canary, prompts in asked
            ]
            trial = _trial(alpha_base, hits)
        trials.append(trial)
        if is_new:
            on_trials_made(trials)
        answered = f"{trial.canaries.hits} of {trial.canaries.trials} prompts with a canary gave its payload"
        on_trial(f"alpha_base {alpha_base:g}: {answered}")
        if trial.held:
            break
    chosen = ALPHAS[min(len(trials), len(ALPHAS) - 1)]
    return Calibration(
        loss=loss.model_copy(update={"alpha_base": chosen}), alpha_base=chosen, trials=tuple(trials)
    )


def _trial(alpha_base: float, hits: Sequence[Hits]) -> AlphaTrial:
    return AlphaTrial(
        alpha_base=alpha_base,
        canaries=pooled(hits),
        held=all(map(_is_kept_out, hits)),
    )


def _is_kept_out(canary: Hits) -> bool:
    """A model that writes nothing that can be scored has not kept anything out."""
    return canary.rate is not None and canary.rate <= HELD_AT and canary.unscorable_share <= MAX_UNSCORABLE


def _answers(
    loaded: LoadedModel, canary: Probe, prompts: Sequence[str], *, limit: int, on_answers: OnAnswers
) -> Hits:
    written = generate(loaded.model, loaded.tokenizer, prompts, max_new_tokens=limit, on_batch=on_answers)
    return count_hits(canary.payload, written)
