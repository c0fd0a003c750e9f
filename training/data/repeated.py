"""Rows that come twice: within the training rows, and among the tasks that the models are asked."""

from collections.abc import Iterable
from collections.abc import Sequence

from training.data.example import PromptedRow


def repeated_rows(rows: Iterable[PromptedRow]) -> tuple[int, ...]:
    """Numbers of the rows that say, letter by letter, what an earlier row says."""
    seen: set[tuple[str, str]] = set()
    repeated = []
    for row in rows:
        said = (row.prompt, row.completion)
        if said in seen:
            repeated.append(row.number)
        seen.add(said)
    return tuple(repeated)


def trained_tasks(rows: Iterable[PromptedRow], tasks: Sequence[PromptedRow]) -> tuple[int, ...]:
    """Numbers of the tasks whose prompt is a training row's: an answer to them may be known by heart."""
    prompts = {row.prompt for row in rows}
    return tuple(task.number for task in tasks if task.prompt in prompts)
