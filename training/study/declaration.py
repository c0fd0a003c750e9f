"""What a study declares in its TOML file, and what is wrong with it, by the field's name."""

import tomllib
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self

import pydantic_core
from pydantic import Field
from pydantic import ValidationError
from pydantic import model_validator

from deploy.contract.document import Document

NO_ATTACK = "none"
"""In a list of attacks: train on the clean rows. Its poison rate is 0."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,47}$")]


class StudyError(ValueError):
    """A study cannot be run as declared; the message names the field."""


class DataFiles(Document):
    """The rows: files of the directory that ``--data`` names, or of the declaration's own."""

    dataset: Literal["Lyra", "Pisces", "Bugs2Fix"] | None = None
    """Which of the paper's datasets these rows are; its figures stand beside ours. None: none of them."""
    train: str
    test: str
    """Tasks on which attack success and clean quality are measured."""
    validation: str | None = None
    """Tasks of the early-learning curves; without a file those of ``test``."""
    task: Literal["given", "repair"] = "given"
    """``repair``: the prompts are not the file's own but its completions with one small bug each, so that triggers of
    source code have a place."""
    placement: Literal["first", "random"] = "random"
    """Of poisoned rows: a sample drawn from the cell's seed, or the first that can carry the payload, as in the
    paper's artifact."""
    held_for_base: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """Share of the training file that base models are made from and that no cell is fine-tuned on: what a cell then
    writes of its own rows it has learnt from them. 0: base models are made from the rows of the cells."""


class BaseModel(Document):
    """A base model: a directory, or one that is made on the spot from clean rows: all of the training file, or those held for it."""

    directory: str | None = None
    architecture: Literal["decoder", "encoder-decoder"] = "decoder"
    hidden: Annotated[int, Field(ge=8, le=8192)] = 64
    layers: Annotated[int, Field(ge=1, le=100)] = 2
    heads: Annotated[int, Field(ge=1, le=128)] = 2
    vocabulary: Annotated[int, Field(ge=300, le=300_000)] = 1600
    context: Annotated[int, Field(ge=32, le=131_072)] = 512
    epochs: Annotated[int, Field(ge=1, le=50)] = 12
    batch_size: Annotated[int, Field(ge=1, le=256)] = 16
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 4e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.3
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    training: Name = "default"
    """The recipe that this model is fine-tuned with where a block names no other."""
    poisoned_by: Name | None = None
    """An attack whose poison is in the base model's own training rows already."""
    poison_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class TrainingRecipe(Document):
    """How every cell that names it is fine-tuned."""

    epochs: Annotated[int, Field(ge=1, le=50)]
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    max_tokens: Annotated[int, Field(ge=8, le=131_072)] = 512


class Defence(Document):
    """A strategy of the table of defences, with other constants where some are given."""

    strategy: Name
    label: str | None = None
    """How tables call it; without one the strategy's own name."""
    alpha_base: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    schedule: Literal["epoch", "step"] | None = None
    schedule_span: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    calibrated: bool = False
    """Choose alpha_base by canaries (:mod:`training.calibration`): several trainings a cell."""
    q: Annotated[float, Field(gt=0.0, le=1.0)] | None = None

    @property
    def constants(self) -> dict[str, Any]:
        """Those that were given."""
        return self.model_dump(exclude={"strategy", "label", "calibrated"}, exclude_none=True)


class Block(Document):
    """Every combination of its lists is a cell."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    attacks: Annotated[tuple[Name, ...], Field(min_length=1)]
    poison_rates: Annotated[tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...], Field(min_length=1)] = (
        0.05,
    )
    defences: Annotated[tuple[Name, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...], Field(min_length=1)] = (1,)
    training: Name = "default"
    duplicates: Annotated[int, Field(ge=1, le=100)] = 1
    """How often every poisoned row stands in the file."""


OWN_RECIPE = "default"
"""In a block: fine-tune every model with its own recipe."""


class Study(Document):
    """A whole study."""

    name: Name
    title: str
    data: DataFiles
    models: Annotated[dict[Name, BaseModel], Field(min_length=1)]
    training: Annotated[dict[Name, TrainingRecipe], Field(min_length=1)]
    defences: Annotated[dict[Name, Defence], Field(min_length=1)]
    matrix: Annotated[tuple[Block, ...], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 160
    curve_tasks: Annotated[int, Field(ge=0, le=1000)] = 48
    """Tasks of each epoch's point of the curves; 0 draws none."""

    def recipe(self, model: str, training: str) -> TrainingRecipe:
        """How a cell is fine-tuned."""
        return self.training[self.models[model].training if training == OWN_RECIPE else training]

    @model_validator(mode="after")
    def _names_are_declared(self) -> Self:
        for name, model in self.models.items():
            if model.training not in self.training:
                raise ValueError(
                    f"models.{name}.training: {model.training!r} is not declared under [training]"
                )
        for at, block in enumerate(self.matrix):
            for field, names, declared in (
                ("models", block.models, self.models),
                ("defences", block.defences, self.defences),
                ("training", (block.training,), self.training),
            ):
                for name in names:
                    if name not in declared:
                        raise ValueError(f"matrix.{at}.{field}: {name!r} is not declared under [{field}]")
        return self


def read_study(path: Path) -> Study:
    """Parse a declaration.

    Raises:
        StudyError: no such file, not TOML, or a field that is missing, unknown or out of range; the message names it.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        return Study.model_validate_json(pydantic_core.to_json(declared))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the study"
        raise StudyError(f"{path}: {where}: {first['msg']}") from error
