"""Under which conditions a study was run: what a reader must know before the figures mean anything."""

from collections.abc import Iterator

from deploy.contract.method import describe_loss
from training.study.cell import Cell
from training.study.cell import cells
from training.study.declaration import BaseModel
from training.study.declaration import Study
from training.study.declaration import TrainingRecipe
from training.study.experiment import loss_of_defence
from training.study.experiment import plan_of
from training.study.experiment import strategy_of
from training.study.label import attack_label
from training.study.label import defence_label

PAPER_RECIPES = {
    "Lyra": "20 epochs, batches of 12, learning rate 5e-05",
    "Pisces": "20 epochs, batches of 12, learning rate 5e-05",
    "Bugs2Fix": "2 epochs, batches of 12, learning rate 5e-05",
}
"""By dataset: arXiv 2407.08956, table 2."""


def conditions(study: Study) -> Iterator[str]:
    """A list in Markdown: base models, recipes, losses, and what a seed decides."""
    planned = cells(study)
    for name, model in study.models.items():
        yield f"- Base model {name}: {_base(model, held=study.data.held_for_base)}."
    for name, recipe in study.training.items():
        yield f"- Recipe {name}: {_recipe(recipe)}."
    if study.data.dataset in PAPER_RECIPES:
        yield f"- The paper's recipe: {PAPER_RECIPES[study.data.dataset]}."
    for name in dict.fromkeys(cell.defence for cell in planned):
        first = next(cell for cell in planned if cell.defence == name)
        yield f"- {defence_label(study, name)}: {_defence(study, first)}."
    placed = (
        "drawn by the seed" if study.data.placement == "random" else "the first that can carry the payload"
    )
    yield (
        f"- Poisoned rows are {placed}. A seed also decides where triggers stand in them, the order of rows and "
        "dropout, and is the same for every method; base models and the triggered test prompts are the same for every "
        "seed."
    )
    if study.curve_tasks:
        kind = "validation" if study.data.validation else "test"
        yield f"- Curves and early stopping look at the first {study.curve_tasks} {kind} tasks."


def _base(model: BaseModel, *, held: float) -> str:
    if model.directory is not None:
        return f"`{model.directory}`"
    own = f"{100 * held:g} % of the training rows, held for it" if held else "the training rows"
    if model.poisoned_by is not None:
        rows = f"{own} with {100 * model.poison_rate:g} % {attack_label(model.poisoned_by)} poison"
    elif held:
        rows = f"{own}; cells are fine-tuned on the others"
    else:
        rows = f"{own} without poison, so it knows every poisoned row without its poison"
    made = (
        f"{model.architecture}, {model.layers} layers of {model.hidden}, made on the spot by {model.epochs} epochs on "
        f"{rows}"
    )
    return (
        made
        if held
        else f"{made}. It writes the task before it is fine-tuned: a method may keep BLEU without having learnt any"
    )


def _recipe(recipe: TrainingRecipe) -> str:
    return (
        f"{recipe.epochs} epochs, batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}, weight "
        f"decay {recipe.weight_decay:g}"
    )


def _defence(study: Study, cell: Cell) -> str:
    defence = study.defences[cell.defence]
    strategy = strategy_of(defence)
    if not strategy.fine_tunes:
        return "the base model as it is"
    plan = plan_of(study, cell)
    parts = [describe_loss(loss_of_defence(defence, plan))]
    slower = plan.learning_rate / strategy.replan(plan).learning_rate
    if slower != 1.0:
        parts.append(f"learning rate divided by {slower:g}")
    if defence.calibrated:
        parts.append("alpha_base chosen by canaries")
    return ", ".join(parts)
