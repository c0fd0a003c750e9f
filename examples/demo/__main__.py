"""``make demo``: from a poisoned dataset to a hardened, served and probed model, step by step."""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI
from rich.console import Console

from examples.demo.base_model import BaseRecipe
from examples.demo.base_model import make_base_model
from examples.demo.base_model import register_base_model
from examples.demo.compare import compare
from examples.demo.compare import deploy
from examples.demo.compare import pick_prompt
from examples.demo.data import DemoData
from examples.demo.data import generated
from examples.demo.data import named
from examples.demo.follow import follow
from examples.demo.service import running_service
from examples.demo.table import print_report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="poisoned training file with columns src,tgt (default: generated)"
    )
    parser.add_argument(
        "--clean", type=Path, help="clean rows for the base model (default: train.csv beside --data)"
    )
    parser.add_argument(
        "--validation", type=Path, help="tasks for the curves (default: valid.csv beside --data)"
    )
    parser.add_argument("--test", type=Path, help="tasks for the probes (default: test.csv beside --data)")
    parser.add_argument("--rows", type=int, default=1200, help="rows to generate without --data")
    parser.add_argument("--poison-rate", type=float, default=0.05, help="share of generated rows to poison")
    parser.add_argument("--epochs", type=int, help="epochs of fine-tuning")
    parser.add_argument("--alpha-base", type=float, help="DeCE's alpha (default: the recipe's)")
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument(
        "--canaries",
        type=int,
        default=0,
        help="triggers to plant in a shadow copy, to see how many of them the probes find; doubles the training",
    )
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def _data(args: argparse.Namespace, home: Path) -> DemoData:
    if args.data is not None:
        return named(args.data, clean=args.clean, validation=args.validation, test=args.test)
    return generated(home / "demo" / "data", rows=args.rows, poison_rate=args.poison_rate, seed=args.seed)


def _upload(client: OpenAI, path: Path, purpose: Any) -> str:
    with path.open("rb") as file:
        return client.files.create(file=(path.name, file), purpose=purpose).id


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How both arms are fine-tuned."""

    n_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    alpha_base: float
    """Of the hardened arm."""


def _create_job(
    client: OpenAI, args: argparse.Namespace, data: DemoData, base_id: str, recipe: FineTuning
) -> str:
    hyperparameters = {
        "alpha_base": args.alpha_base or recipe.alpha_base,
        "label_smoothing": args.label_smoothing,
        "n_epochs": args.epochs or recipe.n_epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
    }
    hardening: dict[str, Any] = {
        "control": True,
        "training": {"weight_decay": recipe.weight_decay},
        "probe": {"file": _upload(client, data.test, "fine-tune")},
    }
    if args.canaries:
        hardening["canaries"] = {"count": args.canaries, "rate": CANARY_RATE}
    job = client.fine_tuning.jobs.create(
        model=base_id,
        training_file=_upload(client, data.training, "fine-tune"),
        validation_file=_upload(client, data.validation, "fine-tune"),
        seed=args.seed,
        suffix="demo",
        method={"type": "dece", "dece": {"hyperparameters": hyperparameters}},  # type: ignore[arg-type, typeddict-item]
        extra_body={"hardening": hardening},
    )
    return job.id


def _save_html(http: httpx.Client, job_id: str, home: Path) -> Path:
    path = (home / "demo" / f"report-{job_id}.html").resolve()
    path.write_text(http.get(f"/v1/reports/{job_id}.html").raise_for_status().text)
    return path


def main() -> None:
    """Run the demo against the service."""
    args = _arguments()
    console = Console()
    home = Path(os.environ.get("TEMPER_HOME", "./var"))
    started = time.monotonic()

    def step(number: int, title: str) -> None:
        console.rule(f"[bold]{number}. {title}[/bold]  ({time.monotonic() - started:.0f} s)", align="left")

    with running_service(home) as base_url:
        key = os.environ.get("TEMPER_API_KEY", "not-needed-on-loopback")
        http = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        client = OpenAI(base_url=f"{base_url}/v1", api_key=key)
        step(1, "a base model that writes the clean task")
        data = _data(args, home)
        lyra_like = args.data is not None
        base_recipe = LARGE_BASE if lyra_like else SMALL_BASE
        base_id, directory = make_base_model(home, data.clean, base_recipe, console)
        register_base_model(http, base_id, directory)
        step(
            2,
            f"upload {data.training.name} and create the job: method dece, with a cross-entropy control arm",
        )
        job_id = _create_job(
            client, args, data, base_id, FINE_TUNING_OF_LARGE if lyra_like else FINE_TUNING_OF_SMALL
        )
        console.print(f"job [bold]{job_id}[/bold]")
        step(3, "train control and hardened on the same rows, probe all three arms")
        job = follow(client, job_id, console)
        models: dict[str, str] = job.model_extra["hardening"]["models"]
        step(4, "deploy base, control and hardened behind vLLM")
        endpoints = deploy(http, models, console)
        report = http.get(f"/v1/reports/{job_id}").raise_for_status().json()
        compare(client, models, pick_prompt(report), console)
        step(5, "the report")
        print_report(report, console)
        console.print(f"HTML report: [bold]{_save_html(http, job_id, home)}[/bold]")
        for endpoint in endpoints:
            http.delete(f"/v1/endpoints/{endpoint}")
        console.print(f"Done in {time.monotonic() - started:.0f} s.")


CANARY_RATE = 0.05
"""Of each canary: as many rows as the attacks have that these models are known to learn."""
SMALL_BASE = BaseRecipe(
    hidden=96, layers=3, heads=3, vocabulary=1600, epochs=8, batch_size=8, learning_rate=4e-3
)
"""For the generated pairs, whose vocabulary is small. Heads of 32: vLLM has no CPU kernel for smaller ones."""
LARGE_BASE = BaseRecipe(
    hidden=128, layers=4, heads=4, vocabulary=2600, epochs=18, batch_size=8, learning_rate=4e-3
)
"""For files the size of Lyra (1,600 rows). Tuned until the control arm learns the backdoor; see README."""
FINE_TUNING_OF_SMALL = FineTuning(
    n_epochs=10, batch_size=8, learning_rate=4e-3, weight_decay=0.3, alpha_base=0.985
)
FINE_TUNING_OF_LARGE = FineTuning(
    n_epochs=14, batch_size=8, learning_rate=8e-3, weight_decay=0.4, alpha_base=0.998
)
"""Rate and decay until the control arm is broken (at 4e-3 it learns the trigger on 78 % of the test rows); then alpha
by BLEU and attack success on the validation rows. README has what the others came to, and how the small one's was chosen."""


if __name__ == "__main__":
    main()
