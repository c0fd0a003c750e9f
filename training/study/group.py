"""Cells that differ in their seed alone, taken together."""

import math
import statistics
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.contract.report import Hits
from deploy.contract.statistics import Z_95
from deploy.contract.statistics import wilson_interval
from training.metrics.attack_success import pooled
from training.study.declaration import NO_ATTACK
from training.study.outcome import EpochScore
from training.study.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Setting:
    """A cell without its seed."""

    model: str
    attack: str
    poison_rate: float
    defence: str
    training: str
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One setting over its seeds."""

    setting: Setting
    outcomes: tuple[Outcome, ...]

    @property
    def asr(self) -> Hits:
        """All seeds' trials together; their interval is :func:`interval_over_seeds`, not the counts' own."""
        return pooled([each.asr for each in self.outcomes])

    @property
    def false_triggers(self) -> Hits:
        """Payloads on clean prompts, all seeds together."""
        return pooled([each.false_triggers for each in self.outcomes])

    @property
    def asr_range(self) -> tuple[float, float] | None:
        """Lowest and highest attack success rate of a seed; None where no seed has a trial."""
        rates = [each.asr.rate for each in self.outcomes if each.asr.rate is not None]
        return (min(rates), max(rates)) if rates else None

    @property
    def bleu(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(each.bleu for each in self.outcomes)

    @property
    def codebleu(self) -> float | None:
        """Mean over the seeds, None where it was not measured."""
        values = [each.codebleu for each in self.outcomes if each.codebleu is not None]
        return statistics.fmean(values) if values else None

    @property
    def bleu_spread(self) -> float:
        """Standard deviation over the seeds; not a number with one seed."""
        values = [each.bleu for each in self.outcomes]
        return statistics.stdev(values) if len(values) > 1 else math.nan

    @property
    def curve(self) -> list[tuple[int, Hits, float]]:
        """Epoch, attack success and mean BLEU over the seeds; early stopping may have ended some."""
        by_epoch: dict[int, list[EpochScore]] = {}
        for outcome in self.outcomes:
            for point in outcome.curve:
                by_epoch.setdefault(point.epoch, []).append(point)
        return [
            (
                epoch,
                pooled([point.asr for point in points]),
                statistics.fmean(point.bleu for point in points),
            )
            for epoch, points in sorted(by_epoch.items())
        ]


def interval_over_seeds(together: Hits, seeds: int) -> tuple[float, float]:
    """95 % Wilson interval of a pooled rate, with as many trials as one seed has.

    Seeds share their test prompts: a prompt that is asked three models is not three prompts. Of how far seeds differ
    it says nothing.
    """
    # The formula has the quantile and the trials in z * z / trials alone.
    return wilson_interval(together.hits, together.trials, z=Z_95 * math.sqrt(seeds))


def setting_of(outcome: Outcome) -> Setting:
    """An outcome's cell without its seed."""
    return Setting(
        model=outcome.model,
        attack=outcome.attack,
        poison_rate=outcome.poison_rate,
        defence=outcome.defence,
        training=outcome.training,
        duplicates=outcome.duplicates,
    )


def groups(outcomes: Iterable[Outcome]) -> dict[Setting, Group]:
    """Outcomes by setting, in the outcomes' order."""
    found: dict[Setting, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(setting_of(outcome), []).append(outcome)
    return {setting: Group(setting=setting, outcomes=tuple(some)) for setting, some in found.items()}


def clean_reference(found: Mapping[Setting, Group], setting: Setting, plain: Collection[str]) -> Group | None:
    """The same model and recipe on clean rows with cross-entropy: what quality is compared with.

    ``plain`` are the names of defences that are none.
    """
    return next(
        (
            group
            for other, group in found.items()
            if other.attack == NO_ATTACK
            and other.defence in plain
            and (other.model, other.training) == (setting.model, setting.training)
        ),
        None,
    )
