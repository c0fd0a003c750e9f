"""Reads ``TEMPER_`` variables one by one; an error names the variable and never repeats a secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "TEMPER_"
MAX_SECRET_BYTES: Final = 64 << 10


class SettingsError(ValueError):
    """The environment does not make a safe configuration."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One environment. Every method raises SettingsError for a value that cannot be."""

    env: Mapping[str, str]

    def is_set(self, name: str) -> bool:
        """Whether there is such a variable."""
        return self.env.get(PREFIX + name) is not None

    def text(self, name: str, default: str) -> str:
        """A variable as it is."""
        return self.env.get(PREFIX + name, default)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds."""
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        try:
            value = int(raw)
        except ValueError:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not a whole number") from None
        if not low <= value <= high:
            raise SettingsError(f"{PREFIX}{name}: {value} is not between {low} and {high}")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number within bounds."""
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        try:
            value = float(raw)
        except ValueError:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not a number") from None
        if not low <= value <= high:
            raise SettingsError(f"{PREFIX}{name}: {raw} is not between {low} and {high}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Yes or no."""
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        known = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
        if raw.lower() not in known:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not one of {', '.join(known)}")
        return known[raw.lower()]

    def choice(self, name: str, default: str, *, among: tuple[str, ...]) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in among:
            raise SettingsError(f"{PREFIX}{name}: {value!r} is not one of {', '.join(among)}")
        return value

    def secret(self, name: str) -> str | None:
        """A secret from the variable itself, or from the file that ``<name>_FILE`` names, as a cluster mounts it."""
        value = self.env.get(PREFIX + name)
        path = self.env.get(f"{PREFIX}{name}_FILE")
        if path is None:
            return value
        if value is not None:
            raise SettingsError(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set; one is enough")
        return _content(f"{PREFIX}{name}_FILE", Path(path))


def _content(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
        # Editors and `kubectl create secret --from-file` leave a line's end behind.
        text = data.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{name}: {path} is not text") from None
    if not text or len(data) > MAX_SECRET_BYTES:
        raise SettingsError(f"{name}: {path} is empty or larger than {MAX_SECRET_BYTES} bytes")
    return text
