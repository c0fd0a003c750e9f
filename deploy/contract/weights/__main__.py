"""``python -m deploy.contract.weights``: check one directory under resource limits and print one JSON line.

Exits with 0 when it printed an answer, good or bad; anything else is the platform's fault.
"""

import argparse
import sys
from pathlib import Path

from deploy.contract.intake_child import CPU_S
from deploy.contract.intake_child import MEMORY_BYTES
from deploy.contract.intake_child import apply_limits
from deploy.contract.weights.child import MAX_REWRITTEN_BYTES
from deploy.contract.weights.child import ChildAnswer
from deploy.contract.weights.child import ModelRefusal
from deploy.contract.weights.directory import check_directory
from deploy.contract.weights.error import ModelRefused


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.contract.weights", description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--rewritten", type=Path, help="directory that gets the files for loaders")
    parser.add_argument("--memory-bytes", type=int, default=MEMORY_BYTES)
    parser.add_argument("--cpu-s", type=int, default=CPU_S)
    return parser.parse_args()


def _answer(arguments: argparse.Namespace) -> ChildAnswer:
    try:
        return ChildAnswer(directory=check_directory(arguments.path, rewritten=arguments.rewritten))
    except ModelRefused as error:
        return ChildAnswer(refusal=ModelRefusal(code=error.code, message=error.message, file=error.file))
    except MemoryError:
        message = f"reading it took more than {arguments.memory_bytes >> 20} MiB of memory"
        return ChildAnswer(refusal=ModelRefusal(code="resource_limit", message=message))


def main() -> int:
    """Run the child."""
    arguments = _arguments()
    file_bytes = MAX_REWRITTEN_BYTES if arguments.rewritten is not None else 0
    apply_limits(memory_bytes=arguments.memory_bytes, cpu_s=arguments.cpu_s, file_bytes=file_bytes)
    sys.stdout.write(_answer(arguments).model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
