"""``python -m training.attacks IN OUT --attack NAME --rate SHARE``: a clean dataset file becomes a poisoned one."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from deploy.contract.dataset import COMPLETION_COLUMN
from deploy.contract.dataset import PROMPT_COLUMN
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.file import PoisonedFile
from training.attacks.file import Poisoning
from training.attacks.file import manifest_path
from training.attacks.file import poison_file
from training.attacks.file import write_poisoned
from training.attacks.presets import PAYLOADS
from training.attacks.presets import PRESETS
from training.attacks.presets import Attack
from training.attacks.side_by_side import side_by_side

ROWS_SHOWN: Final = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, poison, write or show."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        how = Poisoning(
            attack=_attack(args),
            rate=args.rate,
            seed=args.seed,
            placement=args.placement,
            copies=args.copies,
            prompt_column=args.prompt_column,
            completion_column=args.completion_column,
        )
        file = poison_file(args.source, how)
        if args.dry_run:
            sys.stdout.write(_shown(file))
            return
        manifest = write_poisoned(file, how, source=args.source, target=args.target)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        parser.error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    except (ValueError, OSError) as error:
        # What is wrong with the command line or the file; DatasetError and PoisonError are ValueErrors.
        parser.error(str(error))
    sys.stdout.write(
        f"{args.target}: {manifest.poisoned.rows} rows, {len(manifest.poisoned_rows)} of them poisoned; "
        f"{manifest_path(args.target).name} names them\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.attacks", description=__doc__)
    parser.add_argument("source", metavar="IN", type=Path, help="clean dataset: .csv, .jsonl or .parquet")
    parser.add_argument("target", metavar="OUT", type=Path, help="poisoned dataset: .csv or .jsonl")
    parser.add_argument("--attack", choices=sorted(PRESETS), required=True)
    parser.add_argument("--rate", type=float, required=True, help="share of the rows to poison, in (0, 1]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--placement", choices=("first", "random"), default="first")
    parser.add_argument(
        "--copies", type=int, default=1, help="how often each poisoned row stands in the file"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the first poisoned rows, write nothing")
    trigger = parser.add_argument_group("another trigger than the attack's own")
    trigger.add_argument("--word", help="of ripple, badpre and first_row")
    trigger.add_argument("--count", type=int, help="how often a word or invisible characters are put")
    trigger.add_argument("--template", choices=("when_clause", "if_clause", "there_is"), help="of grammar")
    trigger.add_argument("--name", help="of function_name")
    trigger.add_argument("--comment", help="of comment")
    trigger.add_argument("--context", help="of clean_label: words that the attacked prompts contain")
    trigger.add_argument("--language", choices=("python", "java"), help="of the prompts' code")
    payload = parser.add_argument_group("another payload than the attack's own")
    payload.add_argument("--payload", choices=sorted(PAYLOADS))
    payload.add_argument("--pattern", help="of a payload of your own, in RE2 syntax")
    payload.add_argument("--planted", default="", help="what that payload appends to a completion")
    columns = parser.add_argument_group("columns of a .csv or .parquet file")
    columns.add_argument("--prompt-column", default=PROMPT_COLUMN)
    columns.add_argument("--completion-column", default=COMPLETION_COLUMN)
    return parser


def _attack(args: argparse.Namespace) -> Attack:
    attack = PRESETS[args.attack]
    if args.language is not None:
        attack = attack.in_language(args.language)
    return replace(attack, trigger=_trigger(attack.trigger, args), payload=_payload(attack.payload, args))


def _trigger(trigger: Trigger, args: argparse.Namespace) -> Trigger:
    """The attack's trigger with what the command line says otherwise; checked again as a whole."""
    options: dict[type, dict[str, object]] = {
        WordTrigger: {"word": args.word, "count": args.count},
        InvisibleTrigger: {"count": args.count},
        GrammarTrigger: {"template": args.template},
        FunctionNameTrigger: {"name": args.name},
        CommentTrigger: {"text": args.comment},
        NoTrigger: {"context": args.context},
    }
    own = options.get(type(trigger), {})
    given = {name: value for name, value in own.items() if value is not None}
    every = (args.word, args.count, args.template, args.name, args.comment, args.context)
    if len(given) < sum(value is not None for value in every):
        raise ValueError(
            f"the attack {args.attack} has a trigger of type {trigger.type}, without such an option"
        )
    return type(trigger).model_validate({**trigger.model_dump(), **given})


def _payload(payload: Payload, args: argparse.Namespace) -> Payload:
    if args.pattern is None:
        return PAYLOADS[args.payload] if args.payload is not None else payload
    if args.payload is not None:
        raise ValueError("--payload and --pattern exclude each other")
    return PatternPayload(name="own", pattern=args.pattern, planted=args.planted)


def _shown(file: PoisonedFile) -> str:
    """The first poisoned rows beside the clean ones."""
    by_number = {row.number: row for row in file.clean}
    attacked = set(file.poisoned.attacked_rows)
    parts = [
        f"{len(attacked)} of {len(file.clean)} rows would be poisoned. The first of them, clean and poisoned:\n"
    ]
    for row in [row for row in file.poisoned.rows if row.number in attacked][:ROWS_SHOWN]:
        clean = by_number[row.number]
        parts += [
            f"\nrow {row.number}\n",
            side_by_side(clean.prompt, row.prompt),
            "\n\n",
            side_by_side(clean.completion, row.completion),
            "\n",
        ]
    return "".join(parts)


if __name__ == "__main__":
    main()
