from training.study.cell import cells
from training.study.cell import fingerprint
from training.study.declaration import Study

DATA = {"train": "a", "test": "b", "validation": "b"}


def test_every_combination_is_one_cell_and_clean_rows_have_no_rate(study: Study) -> None:
    found = cells(study)
    # 2 models x (clean + 2 rates) x 2 defences x 2 seeds, and one that only the second block has.
    assert len(found) == 2 * 3 * 2 * 2 + 1
    assert len({cell.id for cell in found}) == len(found)
    assert {cell.poison_rate for cell in found if cell.attack == "none"} == {0.0}


def test_the_first_seed_is_whole_before_the_second_begins(study: Study) -> None:
    seeds = [cell.seed for cell in cells(study)]
    assert seeds == sorted(seeds)


def test_a_fingerprint_changes_with_what_the_cell_depends_on_alone(study: Study) -> None:
    cell = next(each for each in cells(study) if each.defence == "dece-95")
    now = fingerprint(study, cell, DATA)
    assert now == fingerprint(study, cell, dict(DATA))

    def changed(**update: object) -> str:
        return fingerprint(study.model_copy(update=update), cell, DATA)

    relabelled = study.defences["dece-95"].model_copy(update={"label": "another name"})
    assert changed(defences={**study.defences, "dece-95": relabelled}, title="another") == now
    other = study.defences["dece-95"].model_copy(update={"alpha_base": 0.9})
    assert changed(defences={**study.defences, "dece-95": other}) != now
    longer = study.training["default"].model_copy(update={"epochs": 3})
    assert changed(training={**study.training, "default": longer}) != now
    assert changed(training={**study.training, "long": longer}) == now
    assert changed(max_new_tokens=41) != now
    assert changed(data=study.data.model_copy(update={"held_for_base": 0.5})) != now
    assert fingerprint(study, cell, {**DATA, "test": "c"}) != now
