"""``python -m deploy.contract.dataset``: validate one file under resource limits and print one JSON line.

Exits with 0 when it printed an answer, good or bad; anything else is the platform's fault.
"""

import argparse
import sys
from pathlib import Path

from deploy.contract.dataset.columns import COMPLETION_COLUMN
from deploy.contract.dataset.columns import PROMPT_COLUMN
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.validation import ChildAnswer
from deploy.contract.dataset.validation import refusal
from deploy.contract.dataset.validation import validate
from deploy.contract.intake_child import CPU_S
from deploy.contract.intake_child import MEMORY_BYTES
from deploy.contract.intake_child import apply_limits


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.contract.dataset", description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--filename", required=True, help="the name that tells the format")
    parser.add_argument("--prompt-column", default=PROMPT_COLUMN)
    parser.add_argument("--completion-column", default=COMPLETION_COLUMN)
    parser.add_argument("--memory-bytes", type=int, default=MEMORY_BYTES)
    parser.add_argument("--cpu-s", type=int, default=CPU_S)
    return parser.parse_args()


def _answer(arguments: argparse.Namespace) -> ChildAnswer:
    try:
        summary = validate(
            arguments.path,
            arguments.filename,
            prompt_column=arguments.prompt_column,
            completion_column=arguments.completion_column,
        )
    except DatasetError as error:
        return ChildAnswer(refusal=refusal(error))
    except MemoryError:
        reason = f"reading it took more than {arguments.memory_bytes >> 20} MiB of memory"
        return ChildAnswer(refusal=refusal(DatasetError("resource_limit", reason)))
    return ChildAnswer(summary=summary)


def main() -> int:
    """Run the child."""
    arguments = _arguments()
    apply_limits(memory_bytes=arguments.memory_bytes, cpu_s=arguments.cpu_s)
    sys.stdout.write(_answer(arguments).model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
