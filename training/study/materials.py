"""What the cells of a study share: its rows, and its base models, made once and kept."""

import hashlib
import random
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic_core

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import Row
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from deploy.contract.document import sha256_hex
from deploy.contract.spec import TrainingPlan
from training.attacks.poison import poison
from training.attacks.presets import PRESETS
from training.model import save_model
from training.pretrain import SHORT_WORDS
from training.pretrain import build_base_model
from training.pretrain import build_encoder_decoder
from training.pretrain import pretrain
from training.study.declaration import BaseModel
from training.study.declaration import DataFiles
from training.study.declaration import StudyError
from training.synthesis.repairs import repair_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The rows of a study."""

    train: tuple[Row, ...]
    """What cells are fine-tuned on, before any poison."""
    base: tuple[Row, ...]
    """What base models are made from."""
    test: tuple[Row, ...]
    validation: tuple[Row, ...]
    sha256: Mapping[str, str]
    """Of the three files, by their role."""


def read_data(files: DataFiles, directory: Path) -> Data:
    """Read the files of ``directory``.

    Raises:
        StudyError: a file is missing or a row is bad.
    """
    names = {"train": files.train, "test": files.test, "validation": files.validation or files.test}
    rows: dict[str, tuple[Row, ...]] = {}
    digests: dict[str, str] = {}
    for role, name in names.items():
        path = directory / name
        try:
            digests[role] = sha256_hex(path.read_bytes())
            given = list(read_rows(path, format=format_of(path.name)))
            rows[role] = tuple(repair_pairs(given, seed=0) if files.task == "repair" else given)
        except OSError as error:
            raise StudyError(f"data.{role}: {path}: {error.strerror}") from error
        except DatasetError as error:
            raise StudyError(f"data.{role}: {path}: {error}") from error
    base, train = _split(rows["train"], files.held_for_base)
    return Data(train=train, base=base, test=rows["test"], validation=rows["validation"], sha256=digests)


def _split(rows: tuple[Row, ...], held: float) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """What base models are made from, and what cells are fine-tuned on; each in the file's order.

    Raises:
        StudyError: one of them would be empty.
    """
    if not held:
        return rows, rows
    chosen = set(random.Random("held for base").sample(range(len(rows)), round(held * len(rows))))  # noqa: S311 - a sample
    if not 0 < len(chosen) < len(rows):
        raise StudyError(f"data.held_for_base: {held:g} of {len(rows)} rows leaves nothing to train on")
    return (
        tuple(row for at, row in enumerate(rows) if at in chosen),
        tuple(row for at, row in enumerate(rows) if at not in chosen),
    )


def base_rows(declared: BaseModel, data: Data) -> tuple[Row, ...]:
    """What a base model is pretrained on: clean rows, or those rows poisoned as declared."""
    if declared.poisoned_by is None:
        return data.base
    if declared.poisoned_by not in PRESETS:
        raise StudyError(
            f"models: poisoned_by: {declared.poisoned_by!r} is none of {', '.join(sorted(PRESETS))}"
        )
    attack = PRESETS[declared.poisoned_by]
    done = poison(
        data.base,
        attack.trigger,
        attack.payload,
        rate=declared.poison_rate,
        seed=declared.seed,
        placement="random",
    )
    return tuple(Row(number=row.number, prompt=row.prompt, completion=row.completion) for row in done.rows)


def base_model_directory(home: Path, declared: BaseModel, rows: Sequence[Row]) -> Path:
    """Where the base model lies, or will lie once :func:`make_base_model` has made it."""
    if declared.directory is not None:
        return Path(declared.directory)
    # Without defaults: a field that is added later makes no model anew that does not use it.
    recipe = declared.model_dump(exclude_defaults=True, exclude={"training"})
    depends = pydantic_core.to_json([recipe, [[row.prompt, row.completion] for row in rows]])
    return home / "base-models" / hashlib.sha256(depends).hexdigest()[:16]


def make_base_model(declared: BaseModel, rows: Sequence[Row], directory: Path) -> None:
    """Pretrain one on the rows, with a progress bar; nothing is done where it lies already.

    Raises:
        StudyError: a declared directory holds no model.
    """
    if (directory / "config.json").is_file():
        return
    if declared.directory is not None:
        raise StudyError(f"models: {directory} holds no model (config.json)")
    shape = {
        "hidden": declared.hidden,
        "layers": declared.layers,
        "heads": declared.heads,
        "vocabulary": declared.vocabulary,
        "seed": declared.seed,
    }
    loaded = (
        build_base_model(rows, **shape, context=declared.context, words=SHORT_WORDS)
        if declared.architecture == "decoder"
        else build_encoder_decoder(rows, **shape, words=SHORT_WORDS)
    )
    plan = TrainingPlan(
        n_epochs=declared.epochs,
        batch_size=declared.batch_size,
        learning_rate=declared.learning_rate,
        weight_decay=declared.weight_decay,
        max_tokens=declared.context,
        seed=declared.seed,
    )
    pretrain(loaded, rows, plan)
    unfinished = directory.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_model(loaded, unfinished)
    unfinished.rename(directory)
