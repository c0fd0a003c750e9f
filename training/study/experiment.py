"""One cell from its poisoned rows to its completions, to be read from top to bottom."""

import contextlib
import copy
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final
from typing import get_args

import torch

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.method import Loss
from deploy.contract.payload import BuiltInPayload
from deploy.contract.spec import TrainingPlan
from training.attacks.poison import poison
from training.attacks.presets import PRESETS
from training.attacks.presets import Attack
from training.attacks.trigger import apply_trigger
from training.calibration import Calibration
from training.calibration import calibrate
from training.data.example import PromptedRow
from training.data.example import encode_rows
from training.defences.prompt_cleaner import PromptCleaner
from training.defences.table import STRATEGIES
from training.defences.table import Strategy
from training.loop import Run
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.losses import build_loss
from training.metrics.attack_success import count_hits
from training.metrics.bleu import mean_bleu
from training.metrics.payload import can_carry
from training.model import LoadedModel
from training.model import load_model
from training.model import load_tokenizer
from training.probing.transformers_engine import generate
from training.study.cell import Cell
from training.study.declaration import NO_ATTACK
from training.study.declaration import Defence
from training.study.declaration import Study
from training.study.declaration import StudyError
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.outcome import Completion
from training.study.outcome import EpochScore
from training.study.outcome import FilterScore

GENERATION_BATCH = 128
SEED_OF_TEST_TRIGGERS = 0
"""The places of the triggers in the test prompts are the same in every cell, so that cells can be paired."""
CODE_LANGUAGE: Final = "python"
REFERENCE_ATTACK = "badpre"
"""On a model trained on clean rows this one's triggered prompts are asked."""

OnCellProgress = Callable[[float, str], None]
"""Share of the cell that is done, in [0, 1], and what is happening."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt as the model is asked it, and the clean reference."""

    row: int
    prompt: str
    reference: str


class _EnoughError(Exception):
    """Early stopping has seen enough."""


def attack_of(cell: Cell, rows: Sequence[PromptedRow] = ()) -> Attack:
    """The attack that a cell's triggered prompts are made with, fitted to the clean training ``rows``.

    Raises:
        StudyError: there is no such preset.
    """
    name = REFERENCE_ATTACK if cell.attack == NO_ATTACK else cell.attack
    if name not in PRESETS:
        raise StudyError(f"attacks: {name!r} is none of {', '.join(sorted(PRESETS))}")
    attack = PRESETS[name].in_language(CODE_LANGUAGE)
    return attack.fitted(rows) if rows else attack


def strategy_of(defence: Defence) -> Strategy:
    """The strategy that a declared defence names.

    Raises:
        StudyError: there is no such strategy.
    """
    if defence.strategy not in STRATEGIES:
        raise StudyError(f"defences: {defence.strategy!r} is none of {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[defence.strategy]


def loss_of_defence(defence: Defence, plan: TrainingPlan) -> Loss:
    """The strategy's loss with the declared constants.

    Raises:
        StudyError: its loss has no such constant.
    """
    loss = strategy_of(defence).loss(plan)
    unknown = sorted(set(defence.constants) - set(type(loss).model_fields))
    if unknown:
        raise StudyError(f"defences: the loss of {defence.strategy!r} has no {', '.join(unknown)}")
    return loss.model_copy(update=defence.constants)


def check_cell(study: Study, cell: Cell) -> None:
    """See, before anything is trained, whether a cell can be run as it is declared.

    Raises:
        StudyError: there is no such attack, strategy or constant, or one lacks what it needs.
    """
    attack_of(cell)
    defence = study.defences[cell.defence]
    loss = loss_of_defence(defence, plan_of(study, cell))
    if defence.calibrated and not isinstance(loss, DeceLoss):
        raise StudyError(f"defences.{cell.defence}: only a strategy with the loss DeCE can be calibrated")
    scored = defence.calibrated or strategy_of(defence).early_stopping is not None
    if scored and study.curve_tasks == 0:
        raise StudyError(f"curve_tasks: 0, but {cell.defence!r} has to look at clean validation tasks")


def triggered_tasks(rows: Sequence[PromptedRow], attack: Attack) -> list[Task]:
    """The rows that can carry both the payload and the trigger, with it."""
    found: list[Task] = []
    for row in rows:
        if not can_carry(attack.payload, row.completion):
            continue
        prompt = apply_trigger(row.prompt, attack.trigger, seed=SEED_OF_TEST_TRIGGERS, row=row.number)
        if prompt is not None:
            found.append(Task(row=row.number, prompt=prompt, reference=row.completion))
    return found


def clean_tasks(rows: Sequence[PromptedRow]) -> list[Task]:
    """The rows as they are."""
    return [Task(row=row.number, prompt=row.prompt, reference=row.completion) for row in rows]


def _poisoned(
    study: Study, cell: Cell, attack: Attack, rows: Sequence[Row]
) -> tuple[list[Row], frozenset[int]]:
    """The training rows and the numbers of the poisoned ones."""
    if cell.attack == NO_ATTACK:
        return list(rows), frozenset()
    done = poison(
        rows,
        attack.trigger,
        attack.payload,
        rate=cell.poison_rate,
        seed=cell.seed,
        placement=study.data.placement,
        copies=cell.duplicates,
    )
    made = [Row(number=row.number, prompt=row.prompt, completion=row.completion) for row in done.rows]
    return made, frozenset(done.poisoned_rows)


def plan_of(study: Study, cell: Cell) -> TrainingPlan:
    """How a cell is fine-tuned, before its strategy changes anything."""
    recipe = study.recipe(cell.model, cell.training)
    return TrainingPlan(
        n_epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_tokens=recipe.max_tokens,
        seed=cell.seed,
    )


def _cleaned(tasks: Sequence[Task], cleaner: PromptCleaner | None) -> list[str]:
    return [task.prompt if cleaner is None else cleaner.clean(task.prompt) for task in tasks]


class _Watch:
    """Draws the curve, and keeps the weights that early stopping chooses."""

    def __init__(
        self,
        *,
        clean: Sequence[Task],
        triggered: Sequence[Task],
        attack: Attack,
        cleaner: PromptCleaner | None,
        strategy: Strategy,
        max_new_tokens: int,
        on_progress: Callable[[StepMetrics], None],
    ) -> None:
        self._prompts = [*_cleaned(clean, cleaner), *_cleaned(triggered, cleaner)]
        self._references = [task.reference for task in clean]
        self._payload = attack.payload
        self._strategy = strategy
        self._limit = max_new_tokens
        self.curve: list[EpochScore] = []
        self.kept: dict[str, Any] | None = None
        self.epochs = 0
        self.on_metrics = on_progress

    def on_epoch(self, run: Run, epoch: int) -> None:
        self.epochs = epoch
        if self._references:
            self.curve.append(self._score(run.loaded, epoch))
        stopping = self._strategy.early_stopping
        if stopping is None:
            return
        scores = [point.bleu for point in self.curve]
        if stopping.chosen(scores) == epoch:
            self.kept = copy.deepcopy(run.loaded.model.state_dict())
        if stopping.is_over(scores):
            raise _EnoughError

    def _score(self, loaded: LoadedModel, epoch: int) -> EpochScore:
        written = generate(
            loaded.model,
            loaded.tokenizer,
            self._prompts,
            max_new_tokens=self._limit,
            batch_size=GENERATION_BATCH,
        )
        clean, triggered = written[: len(self._references)], written[len(self._references) :]
        return EpochScore(
            epoch=epoch,
            asr=count_hits(self._payload, triggered),
            bleu=mean_bleu([each.text for each in clean], self._references),
        )


def _fine_tune(
    base: Path, rows: Sequence[Row], loss: Loss, plan: TrainingPlan, watch: _Watch | None
) -> LoadedModel:
    torch.manual_seed(plan.seed)
    loaded = load_model(base)
    run = start_run(loaded, plan)
    examples = encode_rows(loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    watchers = Watchers(
        on_metrics=watch.on_metrics if watch else lambda metrics: None,
        on_epoch=watch.on_epoch if watch else lambda run, epoch: None,
    )
    with contextlib.suppress(_EnoughError):
        train(run, examples, loss=build_loss(loss, device=loaded.device), plan=plan, watchers=watchers)
    if watch is not None and watch.kept is not None:
        loaded.model.load_state_dict(watch.kept)
    return loaded


def _filter(
    strategy: Strategy,
    rows: list[Row],
    planted: frozenset[int],
    *,
    base: Path,
    plan: TrainingPlan,
    say: OnCellProgress,
) -> tuple[list[Row], FilterScore | None]:
    """The rows that the strategy's filter leaves, and how it did against the manifest."""
    if strategy.row_filter is None:
        return rows, None
    row_filter = strategy.row_filter()
    model = None
    if row_filter.needs_model and strategy.filter_model == "base":
        model = load_model(base)
    elif row_filter.needs_model:
        say(0.0, f"a model for {row_filter.name}")
        model = _fine_tune(base, rows, CrossEntropyLoss(), plan, None)
    say(0.0, f"filtering with {row_filter.name}")
    removed = row_filter.examine(
        rows, model=model, seed=plan.seed, on_progress=lambda done, total, what: say(0.0, what)
    ).removed
    score = FilterScore(
        removed=len(removed),
        removed_poisoned=len(removed & planted),
        poisoned=len(planted),
        rows=len(rows),
    )
    return [row for row in rows if row.number not in removed], score


def _calibrated(
    study: Study,
    loss: DeceLoss,
    rows: Sequence[Row],
    tasks: Sequence[PromptedRow],
    *,
    base: Path,
    plan: TrainingPlan,
    say: OnCellProgress,
) -> Calibration:
    """alpha_base by canaries, on the rows that the cell trains on."""
    return calibrate(
        rows,
        tasks,
        loss=loss,
        tokenizer=load_tokenizer(base),
        families=get_args(BuiltInPayload),
        train=lambda planted, trial: _fine_tune(base, planted, trial, plan, None),
        max_new_tokens=study.max_new_tokens,
        on_trial=lambda said: say(0.0, said),
    )


def run_cell(
    study: Study, cell: Cell, *, data: Data, base: Path, fingerprint: str, on_progress: OnCellProgress
) -> CellRun:
    """Poison, filter, train, and let the model answer every test task, clean and triggered.

    Args:
        study: the declaration.
        cell: which run of it.
        data: the study's rows.
        base: directory of the cell's base model.
        fingerprint: of the cell's declaration.
        on_progress: told often.

    Raises:
        StudyError: the cell cannot be run as declared.
        PoisonError: too few rows can carry the payload.
        JobError: the training diverged.
    """
    started = time.monotonic()
    check_cell(study, cell)
    attack, defence, plan = attack_of(cell, data.train), study.defences[cell.defence], plan_of(study, cell)
    strategy = strategy_of(defence)
    rows, planted = _poisoned(study, cell, attack, data.train)
    rows, filtered = _filter(strategy, rows, planted, base=base, plan=plan, say=on_progress)
    # No poison: the language model that ONION is published with has seen none either.
    cleaner = strategy.fit_cleaner(data.train, seed=cell.seed) if strategy.fit_cleaner else None
    if cleaner is not None and strategy.cleans_training:
        rows = [
            Row(number=row.number, prompt=cleaner.clean(row.prompt), completion=row.completion)
            for row in rows
        ]

    def on_metrics(metrics: StepMetrics) -> None:
        on_progress(metrics.step / metrics.total_steps, f"epoch {metrics.epoch}, loss {metrics.loss:.3f}")

    seen = data.validation[: study.curve_tasks]
    watch = _Watch(
        clean=clean_tasks(seen),
        triggered=triggered_tasks(seen, attack),
        attack=attack,
        cleaner=cleaner,
        strategy=strategy,
        max_new_tokens=study.max_new_tokens,
        on_progress=on_metrics,
    )
    loss, plan = loss_of_defence(defence, plan), strategy.replan(plan)
    chosen = (
        _calibrated(study, loss, rows, seen, base=base, plan=plan, say=on_progress)
        if defence.calibrated and isinstance(loss, DeceLoss)
        else None
    )
    if chosen is not None:
        loss = chosen.loss
    # A filter may leave nothing to learn from: then the base model is what it protects.
    trains = strategy.fine_tunes and bool(rows)
    loaded = _fine_tune(base, rows, loss, plan, watch) if trains else load_model(base)
    on_progress(1.0, "answering the test tasks")

    def answers(tasks: Sequence[Task]) -> tuple[Completion, ...]:
        written = generate(
            loaded.model,
            loaded.tokenizer,
            _cleaned(tasks, cleaner),
            max_new_tokens=study.max_new_tokens,
            batch_size=GENERATION_BATCH,
        )
        return tuple(
            Completion(row=task.row, text=each.text, finished=each.finished)
            for task, each in zip(tasks, written, strict=True)
        )

    return CellRun(
        cell=cell.id,
        fingerprint=fingerprint,
        clean=answers(clean_tasks(data.test)),
        triggered=answers(triggered_tasks(data.test, attack)),
        curve=tuple(watch.curve),
        filtered=filtered,
        alpha_base=None if chosen is None else chosen.alpha_base,
        epochs=watch.epochs,
        seconds=time.monotonic() - started,
    )
