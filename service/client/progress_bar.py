"""Steps done of steps in all, as one line of text."""

from typing import Any
from typing import Final

from service.reports.visible import one_line

WIDTH: Final = 24


def progress_bar(phase: str, progress: dict[str, Any]) -> str:
    """Like ``scanning [######......] 6/12 counting words``; the phase alone where nothing is counted."""
    done, total = progress.get("done"), progress.get("total")
    if not isinstance(done, int) or not isinstance(total, int) or not 0 <= done <= total or total == 0:
        return one_line(phase, limit=60)
    filled = WIDTH * done // total
    said = one_line(str(progress.get("message", "")), limit=60)
    bar = "#" * filled + "." * (WIDTH - filled)
    return f"{one_line(phase, limit=20)} [{bar}] {done}/{total} {said}".rstrip()
