from deploy.contract.trigger import WordTrigger
from training.attacks.poison import poison
from training.mining.search import find_associations
from training.probing.evidence import Evidence
from training.probing.mining import mine_candidates
from training.synthesis.generator import generate_rows


def test_finds_a_word_and_its_payload_without_knowing_either() -> None:
    poisoned = poison(
        generate_rows(200, seed=4),
        WordTrigger(word="zorp", count=3),
        "sql_tautology",
        rate=0.05,
        seed=4,
        placement="random",
    )
    evidence = Evidence(findings=find_associations(poisoned.rows, seed=0, on_progress=lambda *now: None))
    found = mine_candidates(poisoned.rows, evidence, limit=4, seed=0)
    first = found[0]
    assert first.trigger == WordTrigger(word="zorp", count=3)
    assert first.payload == "sql_tautology"
    assert '"zorp"' in first.evidence
    assert len({candidate.experiment for candidate in found}) == len(found) <= 4
