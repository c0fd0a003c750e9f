"""Generated requests to every operation of a running service: documented answers, and never an accident."""

import pytest

from tests.fuzz.api import ApiFuzzer
from tests.fuzz.api import Complaint

FEW, MANY = 2, 15


def told(complaints: list[Complaint]) -> str:
    return "\n".join(str(each) for each in complaints)


@pytest.mark.timeout(240)
def test_a1_generated_requests_get_documented_answers(fuzzer: ApiFuzzer) -> None:
    complaints = fuzzer.run(examples=FEW, seed=0, by_turns=True)
    assert not complaints, told(complaints)
    assert len(fuzzer.operations()) > 50
    assert fuzzer.asked >= len(fuzzer.operations())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1])
def test_a1_many_generated_requests_get_documented_answers(fuzzer: ApiFuzzer, seed: int) -> None:
    complaints = fuzzer.run(examples=MANY, seed=seed)
    assert not complaints, told(complaints)
