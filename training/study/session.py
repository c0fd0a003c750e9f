"""One call of ``temper study``: what is declared, what is done already, and what that leaves to run."""

import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from training.study.cell import Cell
from training.study.cell import cells
from training.study.cell import fingerprint
from training.study.declaration import Study
from training.study.experiment import check_cell
from training.study.materials import Data
from training.study.materials import base_model_directory
from training.study.materials import base_rows
from training.study.materials import make_base_model
from training.study.outcome import CellRun
from training.study.outcome import Outcome
from training.study.outcome import read_outcomes
from training.study.outcome import read_run
from training.study.outcome import write_outcomes
from training.study.pool import Crew
from training.study.pool import Failed
from training.study.pool import OnMessage
from training.study.pool import Order
from training.study.scores import score
from training.study.write_up import write_up

RESULTS = "results.jsonl"
WRITE_EVERY_S = 10.0


@dataclass(slots=True, kw_only=True)
class Session:
    """A study with its rows and everything known about its cells."""

    study: Study
    data: Data
    out: Path
    """Scores, tables and pictures: what is committed."""
    home: Path
    """Base models and raw completions: what is kept on this machine."""
    known: dict[str, Outcome]
    """Scores by cell."""
    failed: list[Failed] = field(default_factory=list)
    not_rescored: list[Cell] = field(default_factory=list)
    """Cells that keep their old scores, for their completions are not on this machine."""
    _written_at: float = 0.0

    @property
    def runs(self) -> Path:
        """Directory of raw results."""
        return self.home / self.study.name / "runs"

    def planned(self, only: str) -> list[Cell]:
        """The declared cells whose id contains ``only``.

        Raises:
            StudyError: a cell cannot be run as declared.
        """
        chosen = [cell for cell in cells(self.study) if only in cell.id]
        for cell in chosen:
            check_cell(self.study, cell)
        return chosen

    def fingerprint(self, cell: Cell) -> str:
        """Of the cell's declaration and the study's rows."""
        return fingerprint(self.study, cell, dict(self.data.sha256))

    def missing(self, planned: Sequence[Cell], *, rescore: bool = False) -> list[Cell]:
        """The cells without a result of their present declaration.

        Raw results that lie here and have no scores yet are scored; with ``rescore`` all of them are, anew.
        """
        absent: list[Cell] = []
        for cell in planned:
            known, expected = self.known.get(cell.id), self.fingerprint(cell)
            is_known = known is not None and known.fingerprint == expected
            if is_known and not rescore:
                continue
            run = read_run(self.runs, cell.id)
            if run is not None and run.fingerprint == expected:
                self.known[cell.id] = score(cell, run, self.data)
            elif is_known:
                self.not_rescored.append(cell)
            else:
                absent.append(cell)
        return absent

    def run(
        self,
        chosen: Sequence[Cell],
        *,
        processes: int,
        on_end: Callable[[str, str | None], None],
        on_message: OnMessage,
    ) -> None:
        """Run cells and score them; scores are written as they come, and when the run is cut.

        ``on_end`` is told each cell's id, and why it failed if it did.
        """
        bases = self._bases(chosen)

        def on_done(order: Order, result: CellRun | Failed) -> None:
            if isinstance(result, Failed):
                self.failed.append(result)
            else:
                self.known[order.cell.id] = score(order.cell, result, self.data)
                if time.monotonic() - self._written_at > WRITE_EVERY_S:
                    self.write()
            on_end(order.cell.id, result.reason if isinstance(result, Failed) else None)

        try:
            Crew(
                study=self.study,
                data=self.data,
                runs=self.runs,
                processes=processes,
                on_done=on_done,
                on_message=on_message,
            ).run(
                [
                    Order(cell=cell, base=bases[cell.model], fingerprint=self.fingerprint(cell))
                    for cell in chosen
                ]
            )
        finally:
            self.write()

    def _bases(self, chosen: Sequence[Cell]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name in dict.fromkeys(cell.model for cell in chosen):
            declared = self.study.models[name]
            rows = base_rows(declared, self.data)
            found[name] = base_model_directory(self.home, declared, rows)
            make_base_model(declared, rows, found[name])
        return found

    def write(self) -> None:
        """Write the scores."""
        write_outcomes(self.out / RESULTS, self.known.values())
        self._written_at = time.monotonic()

    def write_up(self) -> None:
        """Write scores, and tables and pictures of every declared cell that has one of its present declaration."""
        self.write()
        current = [
            known
            for cell in cells(self.study)
            if (known := self.known.get(cell.id)) is not None and known.fingerprint == self.fingerprint(cell)
        ]
        write_up(self.study, current, self.out)


def open_session(study: Study, data: Data, *, out: Path, home: Path) -> Session:
    """A session that knows what was committed to ``out`` before."""
    return Session(study=study, data=data, out=out, home=home, known=read_outcomes(out / RESULTS))
