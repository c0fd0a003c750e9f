"""What a session knows and writes up; no cell is run."""

from pathlib import Path

import pytest

from deploy.contract.dataset import Row
from deploy.contract.report import Hits
from training.study.cell import Cell
from training.study.cell import cells
from training.study.declaration import Study
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.outcome import Completion
from training.study.outcome import Outcome
from training.study.outcome import write_run
from training.study.session import Session
from training.study.session import open_session

ROWS = tuple(Row(number=n, prompt="get the rows", completion="select 1 from a where b = 2") for n in (1, 2))
DATA = Data(
    train=ROWS, base=ROWS, test=ROWS, validation=ROWS, sha256={"train": "a", "test": "b", "validation": "c"}
)


@pytest.fixture
def session(study: Study, tmp_path: Path) -> Session:
    return open_session(study, DATA, out=tmp_path / "out", home=tmp_path / "home")


def outcome(cell: Cell, fingerprint: str, bleu: float) -> Outcome:
    return Outcome(
        cell=cell.id,
        fingerprint=fingerprint,
        model=cell.model,
        attack=cell.attack,
        poison_rate=cell.poison_rate,
        defence=cell.defence,
        seed=cell.seed,
        training=cell.training,
        duplicates=cell.duplicates,
        asr=Hits(hits=1, trials=2),
        hits="10",
        false_triggers=Hits(hits=0, trials=2),
        bleu=bleu,
        bleu_of_task=(bleu, bleu),
        exact_match=0,
        parses=2,
        tasks=2,
        curve=(),
        epochs=1,
        seconds=1.0,
    )


def page_of(session: Session) -> str:
    session.write_up()
    return (session.out / "README.md").read_text()


def test_the_page_has_no_score_of_another_declaration(session: Session) -> None:
    first, second, *_ = cells(session.study)
    session.known[first.id] = outcome(first, session.fingerprint(first), 41.5)
    session.known[second.id] = outcome(second, "0" * 16, 99.5)
    page = page_of(session)
    assert "41.5" in page
    assert "99.5" not in page
    # It is kept all the same, for whoever goes back to the other declaration.
    assert second.id in (session.out / "results.jsonl").read_text()


def test_the_page_has_every_cell_whatever_was_run_now(session: Session) -> None:
    for cell in cells(session.study):
        session.known[cell.id] = outcome(cell, session.fingerprint(cell), 41.5)
    (chosen,) = session.planned("decoder_badpre_10_dece-95")[:1]
    assert session.missing([chosen]) == []
    page = page_of(session)
    assert all(label in page for label in ("none (CE)", "DeCE, alpha .95", "encoder-decoder"))


def test_scoring_again_names_the_cells_whose_completions_are_elsewhere(session: Session) -> None:
    here, elsewhere, *_ = cells(session.study)
    for cell in (here, elsewhere):
        session.known[cell.id] = outcome(cell, session.fingerprint(cell), 41.5)
    said = tuple(Completion(row=row.number, text=row.completion, finished=True) for row in ROWS)
    run = CellRun(
        cell=here.id,
        fingerprint=session.fingerprint(here),
        clean=said,
        triggered=said,
        curve=(),
        epochs=1,
        seconds=1.0,
    )
    write_run(run, session.runs)
    assert session.missing([here, elsewhere], rescore=True) == []
    assert session.known[here.id].bleu == pytest.approx(100.0)
    assert session.not_rescored == [elsewhere]
