"""Section ``requests``: how many requests one process answers in a second, and how long they take."""

import json
from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

from benchmarks.load.place import Place
from benchmarks.load.traffic import Answered
from benchmarks.load.traffic import Asked
from benchmarks.load.traffic import measure
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import finish
from benchmarks.timing import spread_of

CLIENTS: Final = (1, 16)
_UPLOAD: Final = {"filename": "u.jsonl", "purpose": "fine-tune", "bytes": 64, "mime_type": "text/jsonl"}
PATHS: Final[Mapping[str, Callable[[int], Asked]]] = {
    "read: a page of 20 jobs": lambda _: Asked(method="GET", path="/v1/fine_tuning/jobs?limit=20"),
    "read: one job": lambda n: Asked(method="GET", path=f"/v1/fine_tuning/jobs/ftjob-{n % 1000:032x}"),
    "write: an upload is announced": lambda _: Asked(
        method="POST", path="/v1/uploads", body=json.dumps(_UPLOAD).encode()
    ),
}


def measure_requests(place: Place, settings: Settings, watch: Watch, *, seconds: float) -> Section:
    """Each path, by one client and by many."""
    watch.progress.begin("requests", len(PATHS) * len(CLIENTS))
    measurements: list[Measurement] = []
    failures: list[str] = []
    for name, make in PATHS.items():
        for clients in CLIENTS:
            variant = f"{name}, {clients} at once"
            answered = measure(place, make, clients=clients, seconds=seconds)
            if answered.refused:
                failures.append(f"{variant}: {answered.refused} of {len(answered.latencies_s)} were refused")
            measurements += _figures(variant, answered)
            watch.tick(variant)
    return finish(
        "requests",
        "Requests of one process",
        shape={"clients at once": " and ".join(map(str, CLIENTS)), "each for": f"{seconds:g} s"},
        settings=settings,
        watch=watch,
        timed=None,
        measurements=measurements,
        bars=[],
        notes=["Clients, service and PostgreSQL share the machine; PostgreSQL writes through to its disk."],
        failures=failures,
    )


def _figures(variant: str, answered: Answered) -> list[Measurement]:
    figures = {
        "requests a second": ("1/s", answered.per_second),
        "half are answered within": ("ms", answered.percentile_ms(0.5)),
        "95 % are answered within": ("ms", answered.percentile_ms(0.95)),
        "99 % are answered within": ("ms", answered.percentile_ms(0.99)),
    }
    return [
        Measurement(variant=variant, quantity=quantity, unit=unit, spread=spread_of([value]))
        for quantity, (unit, value) in figures.items()
    ]
