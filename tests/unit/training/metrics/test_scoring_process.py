import os
import sys
from pathlib import Path

import pytest

from training.metrics.scorable import MAX_SCORED_CHARS
from training.metrics.scoring_process import MAX_LOSSES
from training.metrics.scoring_process import ScoringProcess

PLAIN = "x = y + 1"
SQL = 'q = "select a from t where b = : b"'
WHILE_IN_WHILE = "\n".join(" " * depth + "while a:" for depth in range(60)) + "\n" + " " * 60 + "a = b"
"""The package walks every loop's body twice: 2**60 steps."""


def stand_in(script: str) -> tuple[str, ...]:
    greeting = "import json, os, sys, time; say = lambda what: print(json.dumps(what), flush=True)\n"
    return (sys.executable, "-c", greeting + script)


ECHO = """
say({"ready": True})
for line in sys.stdin:
    request = json.loads(line)
    if request["completion"] == "die": os._exit(9)
    if request["completion"] == "sleep": time.sleep(60)
    if request["completion"] == "babble": print("not json", flush=True); continue
    say({"value": f"{os.getpid()} {request['completion']}"})
"""


def test_the_real_child_scores() -> None:
    with ScoringProcess() as process:
        assert process.ask("code_bleu", PLAIN, PLAIN) == 100.0
        assert process.ask("code_bleu", "", PLAIN) == 0.0
        assert process.ask("code_bleu", "int x = y ;", "int x = y ;", "java") == 100.0
        assert process.ask("sql_task", "", SQL) is True
        assert process.ask("sql_task", "", "x = 1") is False
        assert process.ask("sql", SQL + " ", SQL) == "same"
        assert process.ask("sql", "x = 1", SQL) == "not_sql"
        assert process.ask("sql", SQL, "x = 1") is None
    assert not process.losses


def test_two_children_agree_to_the_last_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's data flow follows the order of sets of strings.
    completion = "for a , b in c :\n\t d = a + b\n\t e = d + c"
    reference = "for b , a in c :\n\t d = b + a + e\n\t e = d + c + b"
    points = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        with ScoringProcess() as process:
            points.append(process.ask("code_bleu", completion, reference))
    assert points[0] is not None
    assert len(set(points)) == 1


def test_a_completion_of_exponential_time_is_given_up_and_the_next_one_scored() -> None:
    with ScoringProcess() as process:
        assert process.ask("code_bleu", WHILE_IN_WHILE, WHILE_IN_WHILE) is None
        assert process.losses == {"code_bleu": 1}
        assert process.ask("code_bleu", PLAIN, PLAIN) == 100.0


def test_nesting_of_any_depth_costs_its_own_score_only() -> None:
    with ScoringProcess() as process:
        for nested in ("(" * 40_000, "a+" * 40_000, "{" * 40_000):
            points = process.ask("code_bleu", nested, PLAIN)
            assert points is None or points < 30.0  # type: ignore[operator]
            assert process.ask("code_bleu", PLAIN, PLAIN) == 100.0


def test_the_child_can_write_no_file_and_take_no_memory(tmp_path: Path) -> None:
    target = tmp_path / "file"
    script = f"""
from training.metrics.scoring_child import _limit_process
_limit_process()
say({{"ready": True}})
sys.stdin.readline()
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open({str(target)!r}, "w") as file: file.write("x")
    wrote = True
except OSError: wrote = False
try: kept = len(bytearray(2 << 30))
except MemoryError: kept = 0
say({{"value": f"{{wrote}} {{kept}}"}})
"""
    with ScoringProcess(command=stand_in(script)) as process:
        assert process.ask("sql", "a", "b") == "False 0"
    assert not target.exists() or target.read_bytes() == b""


def test_a_child_that_dies_is_replaced() -> None:
    with ScoringProcess(command=stand_in(ECHO)) as process:
        first = process.ask("sql", "one", "")
        assert process.ask("sql", "die", "") is None
        second = process.ask("sql", "one", "")
        assert isinstance(first, str)
        assert isinstance(second, str)
        assert first != second
        assert process.ask("sql", "two", "") == second.replace("one", "two")
        assert process.losses == {"sql": 1}


def test_a_child_that_is_silent_is_given_up() -> None:
    with ScoringProcess(command=stand_in(ECHO), answer_timeout_s=0.3) as process:
        assert process.ask("sql", "sleep", "") is None
        assert process.ask("sql", "one", "") is not None


def test_a_child_that_makes_no_sense_is_given_up() -> None:
    with ScoringProcess(command=stand_in(ECHO)) as process:
        assert process.ask("sql", "babble", "") is None
        assert process.losses == {"sql": 1}


@pytest.mark.parametrize("script", ["sys.exit(3)", "time.sleep(60)", "say([1])"])
def test_a_child_that_does_not_start_is_no_error(script: str) -> None:
    with ScoringProcess(command=stand_in(script), start_timeout_s=0.5) as process:
        assert process.ask("sql", "one", "") is None


def test_after_too_many_losses_one_measure_is_not_taken_any_more() -> None:
    with ScoringProcess(command=stand_in("sys.exit(1)"), start_timeout_s=5.0) as process:
        process.losses["sql"] = MAX_LOSSES
        assert process.ask("sql", "one", "") is None
        assert process._child is None
        assert process.ask("code_bleu", "one", "") is None
        assert process.losses == {"sql": MAX_LOSSES, "code_bleu": 1}


def test_megabytes_are_not_even_sent() -> None:
    with ScoringProcess(command=("/nonexistent",)) as process:
        assert process.ask("sql", "x" * (MAX_SCORED_CHARS + 1), "") is None
        assert process.ask("sql", "", "x" * (MAX_SCORED_CHARS + 1)) is None
    assert not process.losses


def test_nothing_is_left_running_and_no_credentials_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    script = (
        'say({"ready": True}); sys.stdin.readline(); names = [n for n in os.environ if n.startswith("AWS_")]\n'
        'say({"value": f"{os.getpid()} {names}"}); time.sleep(60)'
    )
    with ScoringProcess(command=stand_in(script)) as process:
        said = process.ask("sql", "one", "")
        assert isinstance(said, str)
        assert said.endswith("[]")
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.split()[0]), 0)
