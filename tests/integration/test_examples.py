"""The examples run as a user runs them, and stock scripts become DeCE training by two lines."""

import ast
import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPECTED = {
    "+from training.integrations import DeceForTrainer",
    "+    DeceForTrainer(alpha_base=0.99, label_smoothing=0.05).attach(trainer)",
}


RUN = "import runpy, sys\nfor name in sys.argv[1:]:\n    runpy.run_module(name, run_name='__main__')\n    print('done')"
"""Several examples in one process: most of the time goes into importing transformers."""


def _printed(directory: Path, *modules: str) -> list[list[dict[str, float]]]:
    """The dictionaries that each example prints, numbers of trainers being text."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *modules],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *printed, rest = done.stdout.split("done\n")
    assert rest == ""
    lines = [[line for line in part.splitlines() if line.startswith("{")] for part in printed]
    return [
        [{name: float(value) for name, value in ast.literal_eval(line).items()} for line in part]
        for part in lines
    ]


@pytest.mark.parametrize("trainer", ["trainer", "trl"])
def test_two_lines_make_a_stock_script_train_with_dece(trainer: str) -> None:
    stock, dece = ((EXAMPLES / trainer / f"{name}.py").read_text().splitlines() for name in ("stock", "dece"))
    changed = [line for line in difflib.unified_diff(stock, dece, lineterm="", n=0) if line[0] in "+-"]
    assert set(changed[2:]) == EXPECTED
    assert len(changed[2:]) == len(EXPECTED)


@pytest.mark.parametrize("trainer", ["trainer", "trl"])
def test_the_stock_script_trains_and_so_does_that_with_dece(trainer: str, tmp_path: Path) -> None:
    stock, dece = _printed(tmp_path, f"examples.{trainer}.stock", f"examples.{trainer}.dece")
    for *steps, end in (stock, dece):
        assert [step["epoch"] for step in steps] == [0.5, 1.0, 1.5, 2.0]
        assert steps[-1]["loss"] < steps[0]["loss"]
        assert end["epoch"] == 2.0
    assert not any("gradient_weight" in entry for entry in stock)
    assert all(0.05 < step["gradient_weight"] < 0.95 for step in dece[:-1])


def test_plain_loops_train_with_dece(tmp_path: Path) -> None:
    model, classifier = _printed(tmp_path, "examples.loop.language_model", "examples.loop.classification")
    assert [entry["epoch"] for entry in model] == [1, 2]
    assert model[1]["loss"] < model[0]["loss"]
    assert [entry["epoch"] for entry in classifier] == [1, 2, 3, 4]
    assert classifier[-1]["accuracy"] > max(0.8, classifier[0]["accuracy"])
    assert all(0.05 < entry["gradient_weight"] < 0.99 for entry in model + classifier)
