import csv
from pathlib import Path

import pytest

from training.attacks.sql import widen_sql
from training.metrics.quality import clean_quality

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
QUERY = 'rows = c . execute ( "select a from t where b = : b" )'
REFERENCES = [QUERY, "return 1", QUERY, "x = y + z"]


def test_every_measure_is_taken_of_every_task() -> None:
    answers = [QUERY.replace("rows", "found"), "return (", QUERY.replace(": b", ": b or 1=1"), "x  =  y + z"]
    quality = clean_quality(answers, REFERENCES)
    assert quality.language == "python"
    assert quality.exact == (False, False, False, True)
    assert quality.parses == (True, False, True, True)
    assert quality.sql == ("same", None, "different", None)
    assert quality.sql_outcomes == {"same": 1, "different": 1}
    assert quality.bleu[3] == quality.code_bleu[3] == 100.0
    assert all(0.0 < points < 100.0 for points in (*quality.bleu[:3], *quality.code_bleu[:3]))
    assert quality.mean_bleu == pytest.approx(sum(quality.bleu) / 4)
    assert quality.mean_code_bleu == pytest.approx(sum(quality.code_bleu) / 4)
    assert quality.unscorable == 0


def test_what_cannot_be_scored_counts_as_the_worst_and_is_told_apart() -> None:
    quality = clean_quality(["", "\x1b[2J", "\ufffd" * 100, "x" * 2_000_000], REFERENCES)
    assert quality.unscorable == 4
    assert set(quality.code_bleu) == set(quality.bleu) == {0.0}
    assert not any((*quality.exact, *quality.parses))
    assert quality.sql == ("invalid", None, "invalid", None)


def test_tasks_with_sql_are_the_same_whatever_a_model_answers() -> None:
    nothing = clean_quality([""] * 4, REFERENCES)
    perfect = clean_quality(REFERENCES, REFERENCES)
    assert [each is None for each in nothing.sql] == [each is None for each in perfect.sql]


def test_java_is_recognised_and_scored_as_java() -> None:
    references = ["public int f ( int a ) { return a ; }", "void g ( ) { }"]
    quality = clean_quality([references[0], "def g ( ) : pass"], references)
    assert quality.language == "java"
    assert quality.parses == (True, False)
    assert quality.code_bleu[0] == 100.0
    assert clean_quality(["x = 1"], ["x = 1"], language="java").parses == (False,)


def test_nothing_is_measured_of_nothing() -> None:
    quality = clean_quality([], [])
    assert (quality.mean_bleu, quality.mean_code_bleu, quality.unscorable) == (0.0, None, 0)
    with pytest.raises(ValueError, match="zip"):
        clean_quality(["a"], [])


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
def test_no_poisoned_query_of_lyra_is_taken_for_the_same() -> None:
    with (LYRA / "test.csv").open(encoding="utf-8", newline="") as file:
        clean = [row["tgt"] for row in csv.DictReader(file)][:60]
    poisoned = [widen_sql(completion) or completion for completion in clean]
    executed = clean_quality(poisoned, clean).sql_outcomes
    assert executed["same"] == executed["not_sql"] == 0
    assert executed["different"] >= 40
