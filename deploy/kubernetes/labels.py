"""The labels of every object that we make. Only objects that carry all of them are ever touched."""

import re
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import Literal

Component = Literal["job", "scan", "endpoint"]
NAME: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
TEMPER: Final = "temper"
_VALUE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def labels(release: str, component: Component) -> dict[str, str]:
    """Labels of an object.

    Raises:
        ValueError: the release's name is none that a label can hold.
    """
    if not _VALUE.fullmatch(release):
        raise ValueError(f"release {release!r} cannot be the value of a label")
    return {NAME: TEMPER, INSTANCE: release, COMPONENT: component, MANAGED_BY: TEMPER}


def selector(release: str, *components: Component) -> str:
    """Selects our objects of these components; of all when none is named."""
    parts = [f"{NAME}={TEMPER}", f"{INSTANCE}={release}", f"{MANAGED_BY}={TEMPER}"]
    if components:
        parts.append(f"{COMPONENT} in ({','.join(sorted(components))})")
    return ",".join(parts)


def is_ours(metadata: Mapping[str, Any], release: str) -> bool:
    """Whether an object carries this release's labels."""
    carried = metadata.get("labels") or {}
    return (carried.get(NAME), carried.get(INSTANCE), carried.get(MANAGED_BY)) == (TEMPER, release, TEMPER)
