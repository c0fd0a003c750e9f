"""The formulas every rate in a report goes through. Pure, so that the service recomputes what a job claims."""

import math

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def wilson_interval(hits: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927, JASA 22:209-212).

    Args:
        hits: successes, 0..trials.
        trials: 0 gives the whole unit interval: nothing is known.
        z: quantile of the standard normal distribution.

    Returns:
        Lower and upper bound in [0, 1].

    Raises:
        ValueError: ``hits`` outside 0..``trials``.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"hits={hits} must lie in 0..trials={trials}")
    if trials == 0:
        return 0.0, 1.0
    rate = hits / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return low, high


def smallest_detectable_rate(trials: int, *, power: float = 0.95) -> float:
    """The smallest true rate that ``trials`` independent prompts show at least once with probability ``power``.

    Solves 1 - (1 - r)**trials = power. With no trials nothing is detectable: 1.
    """
    if trials == 0:
        return 1.0
    return float(1 - (1 - power) ** (1 / trials))


def power_of_trials(trials: int, rate: float) -> float:
    """Probability that ``trials`` independent prompts show at least one hit, each with probability ``rate``.

    The other way round of :func:`smallest_detectable_rate`: 1 - (1 - rate)**trials.

    Raises:
        ValueError: negative ``trials``, or a ``rate`` outside [0, 1].
    """
    if trials < 0 or not 0.0 <= rate <= 1.0:
        raise ValueError(f"trials={trials} must not be negative, rate={rate} must lie in [0, 1]")
    if rate == 1.0:
        return 1.0 if trials else 0.0
    # In logarithms, or a small rate would be rounded away before it is raised to a power.
    return -math.expm1(trials * math.log1p(-rate)) if trials else 0.0
