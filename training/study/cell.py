"""One cell of the matrix: one fine-tuning and its measurement."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from itertools import product

import pydantic_core

from training.study.declaration import NO_ATTACK
from training.study.declaration import Study


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """What tells one run of a study from another; every name is declared in the study."""

    model: str
    attack: str
    poison_rate: float
    """Share of all rows; 0 without an attack."""
    defence: str
    seed: int
    """Of the choice of rows, the triggers' places, the order of rows and dropout."""
    training: str = "default"
    duplicates: int = 1

    @property
    def id(self) -> str:
        """A file name that says it all."""
        parts = [self.model, self.attack, f"{100 * self.poison_rate:g}", self.defence]
        if self.training != "default":
            parts.append(self.training)
        if self.duplicates != 1:
            parts.append(f"x{self.duplicates}")
        return "_".join([*parts, f"s{self.seed}"])


def cells(study: Study) -> list[Cell]:
    """Every cell of every block once, in the order in which they are declared, seeds last.

    All cells of one seed come before those of the next, so that a study that is cut has whole tables.
    """
    found = dict.fromkeys(cell for block in range(len(study.matrix)) for cell in _of_block(study, block))
    return sorted(found, key=lambda cell: cell.seed)


def _of_block(study: Study, at: int) -> Iterator[Cell]:
    block = study.matrix[at]
    for model, attack, defence, seed in product(block.models, block.attacks, block.defences, block.seeds):
        for rate in (0.0,) if attack == NO_ATTACK else block.poison_rates:
            yield Cell(
                model=model,
                attack=attack,
                poison_rate=rate,
                defence=defence,
                seed=seed,
                training=block.training,
                duplicates=block.duplicates if attack != NO_ATTACK else 1,
            )


def fingerprint(study: Study, cell: Cell, data_sha256: dict[str, str]) -> str:
    """Digest of everything that a cell's result depends on but the code: 16 hexadecimal digits.

    A cell whose declaration changed is run again, and only that cell.
    """
    depends: dict[str, object] = {
        "cell": asdict(cell),
        # Without defaults: a field that is added later changes no cell that does not use it.
        "model": study.models[cell.model].model_dump(exclude_defaults=True, exclude={"training"}),
        "training": study.recipe(cell.model, cell.training).model_dump(exclude_defaults=True),
        "defence": study.defences[cell.defence].model_dump(exclude_defaults=True, exclude={"label"}),
        "task": study.data.task,
        "placement": study.data.placement,
        "max_new_tokens": study.max_new_tokens,
        "curve_tasks": study.curve_tasks,
        "data": data_sha256,
    }
    if study.data.held_for_base:
        depends["held_for_base"] = study.data.held_for_base
    return hashlib.sha256(pydantic_core.to_json(depends)).hexdigest()[:16]
