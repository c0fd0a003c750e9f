"""When figures are not to be trusted."""

from benchmarks import machine


def test_more_wanting_processes_than_cores_is_busy() -> None:
    said = machine.why_busy([0.5, 2.25, 1.0], cores=2, cpu_share=1.0)
    assert said == "the load average reached 2.25 on 2 cores"


def test_as_many_as_cores_is_not_busy() -> None:
    assert machine.why_busy([2.0], cores=2, cpu_share=0.95) is None
    assert machine.why_busy([], cores=2, cpu_share=1.0) is None


def test_a_lost_core_is_busy_whatever_the_load_says() -> None:
    said = machine.why_busy([0.1], cores=64, cpu_share=0.6)
    assert said == "this process had its core for only 60 % of the time"


def test_the_description_names_what_figures_depend_on() -> None:
    one = machine.describe()
    assert one.processor.endswith(")")
    assert one.cores >= 1
    assert one.memory_gib > 0.1
    assert one.torch
    assert one.date.endswith("+00:00")
