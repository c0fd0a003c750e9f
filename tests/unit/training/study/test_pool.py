"""Workers that are killed, as they are when memory is short; what a cell does is tested with the experiment."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

from deploy.contract.dataset import Row
from training.study.cell import cells
from training.study.declaration import Study
from training.study.materials import Data
from training.study.outcome import CellRun
from training.study.pool import Crew
from training.study.pool import Failed
from training.study.pool import Order

ROWS = tuple(Row(number=n, prompt="get the rows", completion="select 1") for n in (1, 2))
DATA = Data(train=ROWS, base=ROWS, test=ROWS, validation=ROWS, sha256={"train": "a", "test": "b"})


def kill_workers(times: int, ended: threading.Event) -> None:
    """As soon as there are any; each loss ends all workers of a round."""
    killed: set[int] = set()
    while times > 0 and not ended.wait(0.02):
        alive = [each.pid for each in multiprocessing.active_children() if each.pid not in killed]
        if alive and alive[0] is not None:
            killed.update(pid for pid in alive if pid is not None)
            os.kill(alive[0], signal.SIGKILL)
            times -= 1
            time.sleep(0.2)


def reasons(study: Study, directory: Path, *, kills: int) -> list[str]:
    """Why each of three cells came to nothing; their base model is missing, so none can be trained."""
    ended: list[CellRun | Failed] = []
    crew = Crew(
        study=study,
        data=DATA,
        runs=directory,
        processes=1,
        on_done=lambda order, result: ended.append(result),
        on_message=lambda cell, share, what: None,
    )
    over = threading.Event()
    killer = threading.Thread(target=kill_workers, args=(kills, over))
    killer.start()
    try:
        crew.run(
            [Order(cell=cell, base=directory / "none", fingerprint="0" * 16) for cell in cells(study)[:3]]
        )
    finally:
        over.set()
        killer.join()
    assert not multiprocessing.active_children()
    return [each.reason for each in ended if isinstance(each, Failed)]


def test_a_killed_worker_costs_no_cell(study: Study, tmp_path: Path) -> None:
    given = reasons(study, tmp_path, kills=1)
    assert len(given) == 3
    assert not any("was killed" in each for each in given)


def test_a_cell_that_is_always_in_hand_when_workers_die_is_given_up(study: Study, tmp_path: Path) -> None:
    assert ["was killed 2 times" in each for each in reasons(study, tmp_path, kills=2)] == [
        True,
        False,
        False,
    ]
