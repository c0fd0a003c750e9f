import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.probing.engine import UNANSWERED
from training.probing.engine import ProbeEngineError
from training.probing.engine import ProbingTimeUpError
from training.probing.vllm_engine import VllmEngine

GREETING = "import json, os, sys, time, pathlib; work = pathlib.Path(sys.argv[1]); say = lambda **m: print(json.dumps(m), flush=True)\n"
ECHO = """
request = json.loads((work / "request.json").read_text())
for index, model in enumerate(request["models"]):
    say(event="started", model=index)
    prompts = [json.loads(line) for line in (work / f"prompts-{index}.jsonl").read_text().splitlines()]
    with (work / f"completions-{index}.jsonl").open("w") as out:
        for ids in prompts:
            out.write(json.dumps({"ids": ids, "finished": index == 0}) + "\\n")
    say(event="progress", model=index, done=len(prompts))
"""


def engine(scratch: Path, script: str, *, stall_timeout_s: float = 30.0) -> VllmEngine:
    return VllmEngine(
        scratch, command=(sys.executable, "-c", GREETING + script), stall_timeout_s=stall_timeout_s
    )


def ask(of: VllmEngine, models: tuple[Path, ...]) -> list[list[tuple[str, bool]]]:
    answers = of.generate(models, ["get a", "b"], max_new_tokens=8, on_progress=lambda done, message: None)
    return [[(each.text, each.finished) for each in some] for some in answers]


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def test_prompts_go_and_completions_come_in_the_format_of_training(
    tmp_path: Path, random_llamas: tuple[Path, Path]
) -> None:
    said: list[tuple[int, str]] = []
    answers = engine(tmp_path, ECHO).generate(
        random_llamas, ["get a", "b"], max_new_tokens=8, on_progress=lambda *now: said.append(now)
    )
    assert [[each.text for each in some] for some in answers] == [["get a\n", "b\n"]] * 2
    assert [[each.finished for each in some] for some in answers] == [[True, True], [False, False]]
    counts = [done for done, _ in said]
    assert counts == sorted(counts)
    assert said[-1] == (4, "generating with vLLM, model 2")
    assert list(tmp_path.iterdir()) == []


def test_the_request_fits_the_models(tmp_path: Path, random_llamas: tuple[Path, Path]) -> None:
    copy = tmp_path / "seen.json"
    script = f"import shutil; shutil.copy(work / 'request.json', {str(copy)!r})" + ECHO
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ask(engine(scratch, script), random_llamas)
    request = json.loads(copy.read_text())
    assert request["models"] == [str(path.resolve()) for path in random_llamas]
    assert request["max_new_tokens"] == 8
    assert request["max_model_len"] <= 128
    assert request["stop_ids"] == [0]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "print('no space left', file=sys.stderr); sys.exit(3)",
            r"status 3 while starting vLLM.*no space left",
        ),
        ("os.kill(os.getpid(), 11)", "status -11"),
        ("sys.stderr.write('\\x1b[31mred\\x07\\n'); sys.exit(1)", r"\?\[31mred\?"),
        ("say(event='progress', model=0, done=2)", "completions cannot be read"),
        ("(work / 'completions-0.jsonl').write_text('[]\\n{\\n')", "completions cannot be read"),
        (
            "(work / 'completions-0.jsonl').write_text('{\"ids\": [1], \"finished\": true}\\n')",
            "answered 1 of 2",
        ),
        ("print('noise'); print('[1]'); print('{\"model\": null}', flush=True); sys.exit(9)", "status 9"),
    ],
)
def test_a_child_that_fails_is_an_error_with_its_last_words(
    tmp_path: Path, random_llamas: tuple[Path, Path], script: str, said: str
) -> None:
    with pytest.raises(ProbeEngineError, match=f"(?s){said}"):
        ask(engine(tmp_path, script), random_llamas[:1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prelude", ["", "say(event='started', model=0)\n", "os.close(1)\n"])
def test_a_child_that_stalls_is_killed(
    tmp_path: Path, random_llamas: tuple[Path, Path], prelude: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.probing.vllm_engine.HEARTBEAT_S", 0.05)
    pid_file = tmp_path / "pid"
    script = f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n{prelude}time.sleep(600)"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    started = time.monotonic()
    with pytest.raises(ProbeEngineError, match=r"no progress for 1 s|did not end"):
        ask(engine(scratch, script, stall_timeout_s=1.0), random_llamas[:1])
    assert time.monotonic() - started < 20
    assert_ends(int(pid_file.read_text()))


def test_a_caller_who_stops_leaves_nobody_behind(
    tmp_path: Path, random_llamas: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.probing.vllm_engine.HEARTBEAT_S", 0.05)
    pid_file = tmp_path / "pids"
    script = (
        "import subprocess; other = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(f'{{os.getpid()}} {{other.pid}}')\n"
        "say(event='started', model=0); time.sleep(600)"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def stop(done: int, message: str) -> None:
        if message != "starting vLLM":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine(scratch, script).generate(random_llamas[:1], ["a"], max_new_tokens=2, on_progress=stop)
    for pid in map(int, pid_file.read_text().split()):
        assert_ends(pid)
    assert list(scratch.iterdir()) == []


def test_the_child_gets_no_credentials(
    tmp_path: Path, random_llamas: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    with pytest.raises(ProbeEngineError) as caught:
        ask(engine(tmp_path, "sys.exit(f'variables: {sorted(os.environ)}')"), random_llamas[:1])
    assert "variables:" in str(caught.value)
    assert "AWS_" not in str(caught.value)


def test_nothing_is_started_for_nothing(tmp_path: Path, random_llamas: tuple[Path, Path]) -> None:
    of = VllmEngine(tmp_path, command=("/nonexistent",))
    nothing = {"max_new_tokens": 2, "on_progress": lambda done, message: None}
    assert of.generate((), ["a"], **nothing) == []  # type: ignore[arg-type]
    assert of.generate(random_llamas, [], **nothing) == [[], []]  # type: ignore[arg-type]


def test_the_worker_ends_when_its_parent_is_gone() -> None:
    code = "import training.probing.vllm_worker as worker; worker._end_with_parent()"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert worker.stdin is not None
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(timeout=30) == 1
    finally:
        if worker.poll() is None:
            os.kill(worker.pid, 9)
            worker.wait()


PARTLY = """
(work / "completions-0.jsonl").write_text('{"ids": [5], "finished": true}\\n{"ids": [6], "finished": false}\\n')
say(event="started", model=1)
(work / "completions-1.partial").write_text('{"ids": [5], "finished": true}\\n{"ids": [6], "fini')
say(event="progress", model=1, done=1)
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "os.kill(os.getpid(), 9)", "sys.exit(1)", ""])
def test_what_was_answered_before_a_failure_is_kept(
    tmp_path: Path, random_llamas: tuple[Path, Path], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.probing.vllm_engine.HEARTBEAT_S", 0.05)
    with pytest.raises(ProbeEngineError) as caught:
        ask(engine(tmp_path, PARTLY + end, stall_timeout_s=1.0), random_llamas)
    finished = [[each.finished for each in some] for some in caught.value.answers]
    assert finished == [[True, False], [True, False]]
    assert [each == UNANSWERED for each in caught.value.answers[1]] == [False, True]
    assert UNANSWERED not in caught.value.answers[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "null",
        "[]",
        '{"ids": ["x"], "finished": true}',
        '{"ids": [-7]}',
        '{"ids": [1e99], "finished": 1}',
        "\x00",
    ],
)
def test_answers_that_make_no_sense_are_not_kept(
    tmp_path: Path, random_llamas: tuple[Path, Path], line: str
) -> None:
    script = f"(work / 'completions-0.partial').write_text({line!r} + '\\n'); sys.exit(1)"
    with pytest.raises(ProbeEngineError) as caught:
        ask(engine(tmp_path, script), random_llamas)
    assert caught.value.answers == []


def test_a_caller_whose_time_is_up_gets_what_there_is(
    tmp_path: Path, random_llamas: tuple[Path, Path]
) -> None:
    def time_is_up(done: int, message: str) -> None:
        if done == 3:
            raise ProbingTimeUpError("enough")

    with pytest.raises(ProbingTimeUpError) as caught:
        engine(tmp_path, PARTLY + "time.sleep(600)").generate(
            random_llamas, ["get a", "b"], max_new_tokens=8, on_progress=time_is_up
        )
    assert len(caught.value.answers[1]) == 2
    assert list(tmp_path.iterdir()) == []
