"""Kubernetes' quantities, such as ``500m`` or ``64Gi``, as numbers."""

import re
from typing import Final

_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")
_FACTORS: Final = {
    "m": 1e-3,
    "": 1.0,
    **{unit: 1000.0 ** (power + 1) for power, unit in enumerate(("k", "M", "G", "T"))},
    **{unit: 1024.0 ** (power + 1) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"))},
}


def number_of(quantity: str) -> float:
    """Cores, or bytes. Raises ValueError for what is no quantity of ours."""
    match = _FORM.fullmatch(quantity)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"{quantity!r} is not a quantity")
    return float(match[1]) * _FACTORS[match[2]]
