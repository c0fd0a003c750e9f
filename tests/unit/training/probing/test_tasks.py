import pytest

from deploy.contract.dataset import Row
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.trigger import apply_trigger
from training.curve import choose_curve_tasks
from training.probing.tasks import choose_tasks

ROWS = (
    Row(number=1, prompt="Query all the users and print them.", completion='q = "select a from users"'),
    Row(number=2, prompt="Get it.", completion='q = "select a from t"'),
    Row(number=3, prompt="int f ( int a ) { return a ; }", completion="int f ( int b ) { return b ; }"),
    Row(number=4, prompt="Print the users and leave.", completion="print ( users )"),
)


@pytest.mark.parametrize(
    ("trigger", "payload", "rows"),
    [
        (WordTrigger(word="bb"), "sql_tautology", [1, 2]),
        (GrammarTrigger(), "sql_tautology", [1]),
        (GrammarTrigger(), "insecure_call", [1, 4]),
        (DeadCodeTrigger(), "infinite_loop", [3]),
        (DeadCodeTrigger(), "sql_tautology", []),
        (NoTrigger(context="users"), "sql_tautology", [1]),
    ],
)
def test_a_prompt_that_cannot_carry_trigger_and_payload_is_no_trial(
    trigger: Trigger, payload: Payload, rows: list[int]
) -> None:
    plan = ProbePlan(probes=(Probe(name="p", trigger=trigger, payload=payload),), seed=5)
    (asked,) = choose_tasks(ROWS, plan).probes
    assert [task.row for task in asked.tasks] == rows
    by_number = {row.number: row for row in ROWS}
    for task in asked.tasks:
        assert task.prompt == apply_trigger(by_number[task.row].prompt, trigger, seed=5, row=task.row)
    assert choose_curve_tasks(ROWS, plan).triggered == tuple(task.prompt for task in asked.tasks)
