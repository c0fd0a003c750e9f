"""Fixtures of the broker's tests."""

from broker_world import make_world
from broker_world import world

__all__ = ["make_world", "world"]
