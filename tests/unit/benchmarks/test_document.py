"""The page and the record behind it."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import machine
from benchmarks.document import markdown
from benchmarks.document import number
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.record import as_json
from benchmarks.record import merged
from benchmarks.record import read_sections
from benchmarks.record import write_json
from benchmarks.terminal import print_section
from benchmarks.terminal import print_verdict
from benchmarks.timing import spread_of


def section(name: str = "head", **changes: object) -> Section:
    made: dict[str, object] = {
        "name": name,
        "title": f"About {name}",
        "shape": {"rows": 4096},
        "machine": machine.describe(),
        "rounds": 3,
        "loads": (0.25, 1.0),
        "cpu_share": 0.98,
        "busy": None,
        "measurements": (
            Measurement(
                variant="ours",
                quantity="time",
                unit="s",
                spread=spread_of([1.0, 2.0, 3.0]),
                against={"theirs": 0.4},
            ),
            Measurement(variant="theirs", quantity="time", unit="s", spread=spread_of([5.0, 5.0, 5.0])),
            Measurement(variant="ours", quantity="peak memory", unit="MB", spread=spread_of([96.0])),
        ),
        "bars": (
            Bar(what="ours / theirs", measured=spread_of([0.2, 0.4, 0.6]), limit=0.5),
            Bar(what="ours / products", measured=spread_of([1.2]), limit=1.1),
            Bar(what="speed", measured=spread_of([7.0]), limit=5.0, at_least=True),
        ),
        "notes": ("A note.",),
        **changes,
    }
    return Section(**made)  # type: ignore[arg-type]


def page(*sections: Section) -> str:
    return markdown([as_json(one) for one in sections])


def test_bars_say_limit_measured_and_whether_met() -> None:
    text = page(section())
    assert "| ours / theirs | ≤ 0.500 | 0.400 [0.300, 0.500] | met |" in text
    assert "| ours / products | ≤ 1.10 | 1.20 | MISSED |" in text
    assert "| speed | ≥ 5.00 | 7.00 | met |" in text


def test_measurements_stand_beside_their_baselines() -> None:
    text = page(section())
    assert "| time | median, s | least | quartiles | / theirs |" in text
    assert "| ours | 2.00 | 1.00 | [1.50, 2.50] | 0.400 |" in text
    assert "| theirs | 5.00 | 5.00 | [5.00, 5.00] |  |" in text
    assert "| ours | 96.0 | 96.0 |  |" in text


def test_the_machine_is_named() -> None:
    text = page(section())
    assert machine.processor() in text
    assert "load average 0.25 to 1.00, 98 % of the core" in text


def test_a_busy_machine_and_failures_cannot_be_overlooked() -> None:
    text = page(section(busy="the load average reached 9.00 on 2 cores", failures=("native did not run",)))
    assert "**The machine was busy: the load average reached 9.00 on 2 cores." in text
    assert "**Failed: native did not run**" in text
    assert "busy" not in page(section())


def test_what_was_not_measured_says_why() -> None:
    text = page(section("gpu", not_measured="no CUDA device"))
    assert "## About gpu\n\nNot measured: no CUDA device." in text
    assert "| ours" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0312, "0.031"), (0.5, "0.500"), (1.064, "1.06"), (13.89, "13.9"), (3584.2, "3,584")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_part_of_the_benchmark_replaces_its_own_section(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    order = ("head", "rows", "step")
    write_json(path, merged({}, [section("step", rounds=3), section("head", rounds=3)], order=order))
    write_json(path, merged(read_sections(path), [section("step", rounds=9)], order=order))
    content = json.loads(path.read_text())["sections"]
    assert [(one["name"], one["rounds"]) for one in content] == [("head", 3), ("step", 9)]
    assert content[0]["bars"][1]["met"] is False
    assert content[0]["measurements"][0]["spread"]["samples"] == [1.0, 2.0, 3.0]


def test_a_record_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    assert read_sections(path) == {}
    path.write_text("[]")
    with pytest.raises(ValueError, match="no record"):
        read_sections(path)


def shown(one: Section) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    plain = as_json(one)
    print_section(plain, console)
    print_verdict([plain], console)
    console.file.close()
    return console.export_text()


def test_the_terminal_shows_quartiles_and_what_was_missed() -> None:
    text = shown(section(busy="too much load", failures=("x did not run",)))
    assert "0.400 [0.300, 0.500]" in text
    assert "2 of 3 ratios met" in text
    assert "missed ours / products" in text
    assert "the machine was busy: too much load" in text
    assert "failed: x did not run" in text


def test_the_terminal_says_what_was_not_measured() -> None:
    assert "not measured: no CUDA device" in shown(section("gpu", not_measured="no CUDA device", bars=()))
