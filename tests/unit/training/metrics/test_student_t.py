import math
from statistics import NormalDist

import pytest

from training.metrics.student_t import t_quantile


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    # Published tables of Student's distribution.
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 3, 3.1824),
        (0.975, 4, 2.7764),
        (0.95, 5, 2.0150),
        (0.995, 10, 3.1693),
        (0.975, 30, 2.0423),
        (0.975, 120, 1.9799),
        (0.5, 7, 0.0),
    ],
)
def test_gives_the_values_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(expected, abs=5e-5)


def test_one_and_two_degrees_have_closed_forms() -> None:
    assert t_quantile(0.9, 1) == pytest.approx(math.tan(math.pi * 0.4))
    assert t_quantile(0.9, 2) == pytest.approx(0.8 * math.sqrt(2 / (1 - 0.8**2)))


def test_the_expansion_goes_on_where_the_series_ends() -> None:
    series, expansion, normal = t_quantile(0.975, 200), t_quantile(0.975, 201), NormalDist().inv_cdf(0.975)
    assert 0.0 < series - expansion < 1e-4
    assert t_quantile(0.975, 10**9) == pytest.approx(normal)


@pytest.mark.parametrize(("probability", "degrees"), [(0.4, 3), (1.0, 3), (math.nan, 3), (0.9, 0)])
def test_refuses_what_has_no_quantile(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="probability"):
        t_quantile(probability, degrees)
