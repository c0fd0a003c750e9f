"""Keeps torch.compile out of what it cannot trace: kernels called through ctypes, rows found by their targets."""

from collections.abc import Callable
from typing import ParamSpec
from typing import TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def eager(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run as it stands inside a compiled caller: what it is given never compiles anything again."""
    left_out: Callable[P, R] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return left_out
