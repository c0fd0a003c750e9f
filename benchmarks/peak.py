"""Peak memory of one variant of the head, in a process of its own so that nobody else's buffers are counted.

``python -m benchmarks.peak --variant NAME --rows N --hidden H --classes V`` prints the bytes that the
variant needed beyond its inputs: gradients, logits, everything.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.head import COMPILED
from benchmarks.head import VARIANTS
from benchmarks.head import HeadShape
from benchmarks.head import head_input

TIMEOUT_S = 900.0
WARM_UP = HeadShape(rows=16, hidden=16, classes=64)
RETURNED_AT_ONCE = 65536
"""Bytes. glibc keeps freed blocks below a threshold that grows by itself; fixed, every tensor's pages go back."""


class PeakError(RuntimeError):
    """The child did not say; the message holds what it said instead."""


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise PeakError(f"/proc/self/status has no {key}")


def peak_bytes(variant: str, shape: HeadShape) -> int:
    """Bytes above what was resident before the run, in this process."""
    torch.set_num_threads(1)
    run = VARIANTS[variant]
    given = head_input(shape)
    run(given if variant in COMPILED else head_input(WARM_UP))
    given.forget()
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is the present size again
    run(given)
    return _status_bytes("VmHWM") - before


def peak_in_child(variant: str, shape: HeadShape) -> int:
    """The same in a fresh process.

    Raises:
        PeakError: the child failed.
    """
    command = [sys.executable, "-m", "benchmarks.peak", "--variant", variant]
    sizes = {"--rows": shape.rows, "--hidden": shape.hidden, "--classes": shape.classes}
    for option, value in sizes.items():
        command += [option, str(value)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(RETURNED_AT_ONCE), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeakError(f"{variant}: no answer within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise PeakError(f"{variant}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(json.loads(done.stdout)["peak_bytes"])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one variant, print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=__doc__)
    parser.add_argument("--variant", choices=sorted(VARIANTS), required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    args = parser.parse_args(argv)
    shape = HeadShape(rows=args.rows, hidden=args.hidden, classes=args.classes)
    json.dump({"peak_bytes": peak_bytes(args.variant, shape)}, sys.stdout)


if __name__ == "__main__":
    main()
