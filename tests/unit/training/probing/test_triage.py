from deploy.contract.probe import DEFAULT_PROBES
from deploy.contract.trigger import WordTrigger
from training.attacks.poison import poison
from training.defences.refused_tokens import suspects_by_refusal
from training.defences.row_filter import Suspect
from training.mining.refusal import Refusal
from training.mining.search import MAX_ROWS as LOOKED_THROUGH
from training.mining.search import find_associations
from training.probing.evidence import Evidence
from training.probing.triage import MAX_REASON
from training.probing.triage import MAX_ROWS
from training.probing.triage import merged
from training.probing.triage import triage
from training.synthesis.generator import generate_rows


def test_names_each_planted_row_once_with_what_every_detector_says() -> None:
    poisoned = poison(
        generate_rows(200, seed=3),
        WordTrigger(word="bb", count=3),
        "sql_tautology",
        rate=0.06,
        seed=3,
        placement="random",
    )
    evidence = Evidence(findings=find_associations(poisoned.rows, seed=0, on_progress=lambda *now: None))
    found = triage(poisoned.rows, evidence, known_probes=DEFAULT_PROBES)
    planted = found[: len(poisoned.poisoned_rows)]
    assert {row.row for row in planted} == set(poisoned.poisoned_rows)
    assert all(set(row.detectors) == {"probe", "association"} for row in planted)
    assert "probe badpre-bb" in planted[0].reason
    assert "stands in 12 prompts" in planted[0].reason
    assert len({row.row for row in found}) == len(found)


def test_the_rows_that_more_detectors_name_come_first_among_equals() -> None:
    one = [Suspect(row=1, score=0.5, reason="a"), Suspect(row=2, score=0.5, reason="a")]
    two = [Suspect(row=2, score=0.4, reason="b"), Suspect(row=3, score=0.9, reason="b")]
    found = merged({"association": one, "naturalness": two})
    assert [row.row for row in found] == [3, 2, 1]
    assert found[1].reason == "a; b"
    assert found[1].detectors == ("association", "naturalness")


def test_refusals_counted_in_a_sample_say_so() -> None:
    refused = (Refusal(words=("or", "1"), rows=(4, 9, 11), standing=3, learnt=0.99, doubted=0.01),)
    (whole, *_) = suspects_by_refusal(refused, file_rows=LOOKED_THROUGH)
    (drawn, *_) = suspects_by_refusal(refused, file_rows=5_000_000)
    assert drawn.reason == f"{whole.reason} (counted in {LOOKED_THROUGH} rows drawn from 5000000)"


def test_stays_within_what_a_report_can_hold() -> None:
    many = [Suspect(row=row, score=0.5, reason="x" * 2000) for row in range(1, MAX_ROWS + 3)]
    found = merged({"association": many})
    assert len(found) == MAX_ROWS
    assert len(found[0].reason) == MAX_REASON
