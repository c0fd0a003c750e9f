"""One run of chaos: clients submit, everything fails at random, then it heals and is judged."""

import random
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
from job_world import ROWS

from tests.chaos.clients import Client
from tests.chaos.clients import Ledger
from tests.chaos.faults import Faults
from tests.chaos.faults import Kind
from tests.chaos.parts import Install
from tests.chaos.parts import installed
from tests.chaos.verdict import Verdict
from tests.chaos.verdict import judge

CLIENTS: Final = 3
SAY_EVERY_S: Final = 5.0


def storm(
    home: Path,
    *,
    minutes: float,
    seed: int,
    off: str = "nothing",
    pause_s: float = 6.0,
    kinds: Sequence[Kind] = (),
    say: Callable[[str], None] = lambda _line: None,
) -> Verdict:
    """Run chaos below an empty directory.

    Args:
        home: where logs and states lie.
        minutes: that faults are injected for.
        seed: of the faults and the clients; the machine's own pace is not repeated.
        off: mechanisms to be missed: ``hashes``, ``conditional-put``, or both in one text.
        kinds: of faults to choose from; nothing means all.
        pause_s: seconds between a client's submissions, on average.
        say: told every few seconds how it goes.

    Raises:
        LookupError: PostgreSQL is not installed.
    """
    with installed(home, off=off) as install:
        ledger, stop = Ledger(), threading.Event()
        file_id = _upload(install)
        clients = [
            Client(install.urls, file_id, ledger, stop, seed=seed * 100 + number, pause_s=pause_s)
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        faults = Faults(install, random.Random(seed), kinds)
        _rage(faults, ledger, minutes, say)
        faults.heal()
        stop.set()
        for client in clients:
            client.join(30)
        say("healing")
        return judge(install, ledger, faults.counts, minutes=minutes, seed=seed)


def _upload(install: Install) -> str:
    answer = httpx.post(
        f"{install.urls[0]}/v1/files",
        data={"purpose": "fine-tune"},
        files={"file": ("t.jsonl", ROWS)},
        trust_env=False,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def _rage(faults: Faults, ledger: Ledger, minutes: float, say: Callable[[str], None]) -> None:
    began = said = time.monotonic()
    while (now := time.monotonic()) - began < minutes * 60:
        faults.step()
        if now - said >= SAY_EVERY_S:
            said = now
            say(
                f"{now - began:5.0f} s  {len(ledger.accepted)} accepted, {sum(faults.counts.values())} faults"
            )
        time.sleep(faults.random.uniform(0.2, 1.2))
