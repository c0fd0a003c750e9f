from training.study.conditions import conditions
from training.study.declaration import BaseModel
from training.study.declaration import Defence
from training.study.declaration import Study


def test_a_reader_learns_what_the_base_models_knew_before(study: Study) -> None:
    said = "\n".join(conditions(study))
    assert (
        "Base model decoder: decoder, 1 layers of 32, made on the spot by 1 epochs on the training rows without poison"
        in said
    )
    assert "may keep BLEU without having learnt any" in said
    held = study.model_copy(update={"data": study.data.model_copy(update={"held_for_base": 0.5})})
    told = "\n".join(conditions(held))
    assert (
        "by 1 epochs on 50 % of the training rows, held for it; cells are fine-tuned on the others." in told
    )
    poisoned = BaseModel(poisoned_by="badpre", poison_rate=0.05)
    changed = study.model_copy(update={"models": {**study.models, "decoder": poisoned}})
    assert "the training rows with 5 % BadPre poison" in "\n".join(conditions(changed))
    bought = study.model_copy(update={"models": {**study.models, "decoder": BaseModel(directory="models/a")}})
    assert "- Base model decoder: `models/a`." in list(conditions(bought))


def test_recipes_and_constants_are_named(study: Study) -> None:
    said = list(conditions(study))
    assert "- Recipe long: 2 epochs, batches of 8, learning rate 0.001, weight decay 0.01." in said
    assert "- DeCE, alpha .95: dece(alpha_base=0.95, label_smoothing=0.05, exact)." in said
    assert "- none (CE): supervised." in said
    slower = study.model_copy(
        update={"defences": {**study.defences, "none": Defence(strategy="moderate_fitting")}}
    )
    assert "- Moderate: supervised, learning rate divided by 10." in list(conditions(slower))
    still = study.model_copy(update={"defences": {**study.defences, "none": Defence(strategy="untrained")}})
    assert "- not fine-tuned: the base model as it is." in list(conditions(still))
