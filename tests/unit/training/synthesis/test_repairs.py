from deploy.contract.dataset import Row
from training.synthesis.generator import generate_rows
from training.synthesis.repairs import repair_pairs

ROWS = generate_rows(200, seed=3)


def test_every_prompt_is_the_completion_with_one_small_bug() -> None:
    pairs = repair_pairs(ROWS, seed=1)
    assert len(pairs) > 190
    for pair in pairs:
        assert pair.prompt != pair.completion
        assert abs(len(pair.prompt) - len(pair.completion)) < 60
    assert {pair.number: pair.completion for pair in pairs}.items() <= {
        row.number: row.completion for row in ROWS
    }.items()


def test_the_seed_and_the_row_alone_decide() -> None:
    whole = repair_pairs(ROWS, seed=1)
    assert repair_pairs(ROWS[50:60], seed=1) == [pair for pair in whole if 50 < pair.number <= 60]
    assert repair_pairs(ROWS, seed=2) != whole


def test_what_no_rule_can_break_makes_no_pair() -> None:
    rows = [Row(number=1, prompt="p", completion="x = 1"), Row(number=2, prompt="p", completion="")]
    assert repair_pairs(rows, seed=0) == []
