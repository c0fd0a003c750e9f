"""``make fuzz``: the API by its own description, parsers by coverage where atheris is there, by damage elsewhere; for as long as one likes.

    python -m tests.fuzz --minutes 10             half of the time for the API, an equal share of the rest each parser
    python -m tests.fuzz safetensors --minutes 60 one parser
    python -m tests.fuzz --api URL --key KEY      requests to a service that runs already

What made a parser stumble is written to var/fuzz and named; make it a test, and keep it in the corpus. Exit
status 1 when anything was found.
"""

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.corpus import DIRECTORY
from tests.fuzz.corpus import changed
from tests.fuzz.corpus import kept

FOUND: Final = DIRECTORY.parents[2] / "var" / "fuzz"
NAMES: Final = tuple(sorted(path.name for path in DIRECTORY.iterdir()))
COVERAGE: Final = importlib.util.find_spec("atheris") is not None


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(NAMES))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--api", metavar="URL", help="fuzz the service at URL instead of the parsers")
    parser.add_argument("--key", default="", help="its API key")
    args = parser.parse_args(argv)
    if strange := set(args.parsers) - set(NAMES):
        parser.error(f"there is no parser {', '.join(sorted(strange))}")
    if args.api:
        return _fuzz_api(args.api, args.key, args.minutes, args.seed)
    if args.parsers:
        return _fuzz_parsers(args.parsers, args.minutes, args.seed)
    return max(
        _fuzz_own_service(args.minutes / 2, args.seed), _fuzz_parsers(NAMES, args.minutes / 2, args.seed)
    )


def _fuzz_parsers(names: Sequence[str], minutes: float, seed: int) -> int:
    return max([_fuzz_parser(name, minutes * 60 / len(names), seed) for name in names])


def _fuzz_parser(name: str, seconds: float, seed: int) -> int:
    FOUND.mkdir(parents=True, exist_ok=True)
    if not COVERAGE:
        return _damage(name, seconds, seed)
    # libFuzzer ends its process at the first fault, and bounds time and memory by itself.
    command = [sys.executable, "-m", "tests.fuzz.by_coverage", name, f"-artifact_prefix={FOUND}/{name}-"]
    limits = [
        f"-max_total_time={max(1, int(seconds))}",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-max_len=16384",
    ]
    ended = subprocess.run([*command, *limits, "-print_final_stats=1", f"-seed={seed or 1}"], check=False)
    sys.stdout.write(f"{name}: {'found something' if ended.returncode else 'nothing found'}\n")
    return 1 if ended.returncode else 0


def _damage(name: str, seconds: float, seed: int) -> int:
    from tests.fuzz.parsers import PARSERS

    chance, begun, tried = random.Random(seed), time.monotonic(), 0
    whole = kept(name)
    while time.monotonic() - begun < seconds:
        data = changed(chance.choice(whole), chance)
        tried += 1
        try:
            PARSERS[name](data)
        except BaseException:
            traceback.print_exc()
            where = _keep(name, data)
            sys.stdout.write(f"{name}: found after {tried:,} inputs, kept as {where}\n")
            return 1
    sys.stdout.write(f"{name}: nothing found in {tried:,} inputs\n")
    return 0


def _keep(name: str, data: bytes) -> Path:
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def _fuzz_own_service(minutes: float, seed: int) -> int:
    from tests.fixtures.service_process import ServiceProcess
    from tests.fuzz.things import ENVIRONMENT
    from tests.fuzz.things import KEY
    from tests.fuzz.things import STAND_IN
    from tests.fuzz.things import things_in

    with tempfile.TemporaryDirectory(prefix="temper-fuzz-") as place:
        service = ServiceProcess(home=Path(place) / "home", env=ENVIRONMENT, command=(str(STAND_IN),))
        service.start()
        try:
            with service.client() as client:
                known = things_in(client)
            return _fuzz_api(service.base_url, KEY, minutes, seed, known)
        finally:
            service.stop()


def _fuzz_api(
    url: str, key: str, minutes: float, seed: int, known: Mapping[str, list[str]] | None = None
) -> int:
    from tests.fuzz.api import ApiFuzzer

    fuzzer = ApiFuzzer(base_url=url.rstrip("/"), key=key, known=known or {})
    begun, told = time.monotonic(), set()
    while time.monotonic() - begun < minutes * 60:
        for complaint in fuzzer.run(examples=20, seed=seed):
            if (kind := (complaint.operation, complaint.what[:60])) not in told:
                told.add(kind)
                sys.stdout.write(f"{complaint}\n")
        seed += 1
    sys.stdout.write(f"{fuzzer.asked:,} requests, {len(told)} complaints\n")
    return 1 if told else 0


if __name__ == "__main__":
    raise SystemExit(main())
