"""From a cell's completions to its scores; done again whenever a metric changes, without training again."""

from training.metrics.attack_success import attack_outcomes
from training.metrics.attack_success import count_hits
from training.metrics.attack_success import counted
from training.metrics.payload import can_carry
from training.metrics.quality import clean_quality
from training.study.cell import Cell
from training.study.experiment import attack_of
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.outcome import Outcome


def score(cell: Cell, run: CellRun, data: Data) -> Outcome:
    """All metrics of a cell."""
    attack = attack_of(cell, data.train)
    references = {row.number: row.completion for row in data.test}
    texts = [each.text for each in run.clean]
    expected = [references[each.row] for each in run.clean]
    able = [each for each in run.clean if can_carry(attack.payload, references[each.row])]
    quality = clean_quality(texts, expected)
    hits = attack_outcomes(attack.payload, run.triggered)
    return Outcome(
        cell=cell.id,
        fingerprint=run.fingerprint,
        model=cell.model,
        attack=cell.attack,
        poison_rate=cell.poison_rate,
        defence=cell.defence,
        seed=cell.seed,
        training=cell.training,
        duplicates=cell.duplicates,
        asr=counted(hits),
        hits=hits,
        false_triggers=count_hits(attack.payload, able),
        bleu=quality.mean_bleu,
        bleu_of_task=tuple(round(each, 2) for each in quality.bleu),
        codebleu=quality.mean_code_bleu,
        exact_match=sum(quality.exact),
        parses=sum(quality.parses),
        tasks=len(texts),
        sql_same=quality.sql_outcomes["same"],
        sql_tried=quality.sql_outcomes.total(),
        curve=run.curve,
        filtered=run.filtered,
        alpha_base=run.alpha_base,
        epochs=run.epochs,
        seconds=round(run.seconds, 1),
    )
