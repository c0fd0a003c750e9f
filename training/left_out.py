"""Which training rows the hardened arm does not see."""

from collections.abc import Sequence

from deploy.contract.dataset import Row
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import RowFilterName
from training.defences.filters import FILTERS
from training.defences.row_filter import OnFilterProgress
from training.errors import InvalidInput


def rows_to_leave_out(
    name: RowFilterName, rows: Sequence[Row], *, seed: int, on_progress: OnFilterProgress
) -> tuple[int, ...]:
    """Numbers of the rows that a filter finds planted, ascending.

    Raises:
        InvalidInput: it finds all of them so, and nothing would be left to learn from.
    """
    removed = FILTERS[name]().examine(rows, model=None, seed=seed, on_progress=on_progress).removed
    if len(removed) >= len(rows):
        raise InvalidInput(
            ExitCode.INVALID_DATASET,
            "nothing_left",
            f"the row filter {name} finds every row of the training file planted",
            param="training_file",
        )
    return tuple(sorted(removed))
