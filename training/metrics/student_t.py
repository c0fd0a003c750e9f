"""Quantiles of Student's t distribution, without a statistics library.

Abramowitz and Stegun 1964: the finite series 26.7.3 and 26.7.4 for the probability, inverted by bisection; the
expansion 26.7.5 where there are so many degrees of freedom that it is exact to seven digits.
"""

import math
from statistics import NormalDist
from typing import Final

_SERIES_UP_TO: Final = 200
_BISECTIONS: Final = 60


def t_quantile(probability: float, degrees: int) -> float:
    """The value that lies above ``probability`` of the distribution.

    Args:
        probability: in [0.5, 1).
        degrees: of freedom, at least 1.

    Raises:
        ValueError: an argument out of its range.
    """
    if not 0.5 <= probability < 1.0 or degrees < 1:
        raise ValueError(f"probability={probability} must lie in [0.5, 1), degrees={degrees} be at least 1")
    if degrees > _SERIES_UP_TO:
        z = NormalDist().inv_cdf(probability)
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        return z + first / degrees + second / degrees**2
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        angle = (low + high) / 2
        if _share_within(angle, degrees) < 2 * probability - 1:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan(low)


def _share_within(angle: float, degrees: int) -> float:
    """Probability of a value within ± sqrt(degrees) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2 == 1
    term = total = cosine if is_odd else 1.0
    for order in range(2 + is_odd, degrees - 1, 2):
        term *= cosine * cosine * (order - 1) / order
        total += term
    if not is_odd:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if degrees > 1 else 0.0))
