"""The limits of a project, as numbers. Owns their names, units and defaults; spends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from typing import Final
from typing import Literal
from typing import get_args

from service.environment import Reader

LimitName = Literal[
    "requests_per_minute",
    "requests_at_once",
    "tokens_per_minute",
    "tokens_per_day",
    "unfinished_jobs",
    "running_jobs",
    "gpu_hours",
    "stored_bytes",
    "endpoints",
]
NAMES: Final[tuple[LimitName, ...]] = get_args(LimitName)
Rate = Literal["requests_per_minute", "tokens_per_minute", "tokens_per_day"]
WINDOW_S: Final[Mapping[Rate, int]] = {
    "requests_per_minute": 60,
    "tokens_per_minute": 60,
    "tokens_per_day": 86_400,
}
"""Windows begin at whole multiples of their length by the database's clock: a day at midnight UTC."""
GPU_WINDOW_S: Final = 30 * 86_400
MOST: Final = 1 << 53
"""Largest value of a limit: JavaScript's integers, too, hold it exactly."""
VARIABLES: Final[tuple[str, ...]] = tuple(f"LIMIT_{name.upper()}" for name in NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one project may do. None is no limit."""

    requests_per_minute: int | None = None
    requests_at_once: int | None = None
    tokens_per_minute: int | None = None
    """Of prompts and completions together."""
    tokens_per_day: int | None = None
    unfinished_jobs: int | None = None
    """Jobs and scans that have not ended, whether they run or wait."""
    running_jobs: int | None = None
    """Jobs that run at once, and as many scans; more of them wait for their turn."""
    gpu_hours: int | None = None
    """Of jobs, within the last 30 days; a job that runs when they are used up may end."""
    stored_bytes: int | None = None
    """Files, uploads and base models; what jobs make is not counted."""
    endpoints: int | None = None
    """That have not ended, awake or asleep."""

    def of(self, name: LimitName) -> int | None:
        """One of them."""
        value: int | None = getattr(self, name)
        return value

    def overridden(self, by: Mapping[str, int]) -> "Limits":
        """The same, but for the limits that a project has of its own; names that nobody knows are left out."""
        known = {each.name for each in fields(self)}
        return replace(self, **{name: value for name, value in by.items() if name in known})


def read_limits(read: Reader) -> Limits:
    """The operator's defaults, ``TEMPER_LIMIT_<NAME>``. Raises SettingsError."""
    found: dict[str, int] = {
        name: read.integer(variable, 0, low=0, high=MOST)
        for name, variable in zip(NAMES, VARIABLES, strict=True)
        if read.is_set(variable)
    }
    return Limits().overridden(found)
