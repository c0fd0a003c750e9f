"""What looks after jobs and what looks after scans use together."""

from collections.abc import Callable
from dataclasses import dataclass

from deploy.launch.protocol import Launcher
from service.context import Context
from service.reconcile.background import Background
from service.reconcile.errands import Errands
from service.reconcile.instruments import Instruments


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Of one reconciler."""

    context: Context
    launcher: Launcher
    background: Background
    """For long checks."""
    errands: Errands
    """For short questions to store and launcher."""
    instruments: Instruments
    leads: Callable[[], bool]
    """Whether this process may still act on what no row's version guards."""
