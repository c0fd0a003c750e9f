"""Every row filter by its name, made with its published constants. Those that need no model import no torch."""

from collections.abc import Callable
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from training.defences.association import AssociationFilter
from training.defences.killbadcode import KillBadCode
from training.defences.killbadcode import SignedKillBadCode
from training.defences.onion import OnionFilter
from training.defences.row_filter import RowFilter


def _bki() -> RowFilter:
    from training.defences.bki import BackdoorKeywords

    return BackdoorKeywords()


def _gradsentry() -> RowFilter:
    from training.defences.gradsentry import GradSentry

    return GradSentry()


def _spectral_signatures() -> RowFilter:
    from training.defences.spectral import SpectralSignatures

    return SpectralSignatures()


FILTERS: Final[Mapping[str, Callable[[], RowFilter]]] = MappingProxyType(
    {
        "association": AssociationFilter,
        "bki": _bki,
        "gradsentry": _gradsentry,
        "killbadcode": KillBadCode,
        "killbadcode_signed": SignedKillBadCode,
        "onion": OnionFilter,
        "spectral_signatures": _spectral_signatures,
    }
)
