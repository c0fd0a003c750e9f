import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import read_rows
from training.attacks.file import Poisoning
from training.attacks.file import manifest_path
from training.attacks.file import poison_file
from training.attacks.file import write_poisoned
from training.attacks.manifest import Manifest
from training.attacks.poison import PoisonError
from training.attacks.presets import PRESETS
from training.synthesis.generator import generate_rows

HOW = Poisoning(attack=PRESETS["badpre"], rate=0.1, seed=3, placement="random", copies=2)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "src", "tgt"))
        writer.writerows((row.number, row.prompt, row.completion) for row in generate_rows(50, seed=0))
    return path


@pytest.mark.parametrize("name", ["poisoned.csv", "poisoned.jsonl"])
def test_what_is_written_is_what_the_manifest_says(clean: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    file = poison_file(clean, HOW)
    manifest = write_poisoned(file, HOW, source=clean, target=target)
    assert Manifest.from_bytes(manifest_path(target).read_bytes()) == manifest
    read = list(read_rows(target, format="csv" if name.endswith("csv") else "jsonl"))
    assert [(row.prompt, row.completion) for row in read] == [
        (row.prompt, row.completion) for row in file.poisoned.rows
    ]
    assert manifest.poisoned.rows == len(read) == 55
    assert manifest.clean.rows == 50
    assert manifest.clean.sha256 == hashlib.sha256(clean.read_bytes()).hexdigest()
    assert manifest.poisoned.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert manifest.attack == "badpre"
    assert manifest.trigger == PRESETS["badpre"].trigger
    assert (manifest.rate, manifest.seed, manifest.placement, manifest.copies) == (0.1, 3, "random", 2)
    changed = {row.number for row in read if "bb" in row.prompt.split()}
    assert changed == set(manifest.poisoned_rows)
    assert set(manifest.attacked_rows) == changed & set(range(1, 51))


@pytest.mark.parametrize("name", ["poisoned.csv", "poisoned.jsonl"])
def test_blank_lines_of_the_clean_file_do_not_shift_the_numbers_of_poisoned_rows(
    tmp_path: Path, name: str
) -> None:
    clean = tmp_path / "clean.jsonl"
    lines = [
        json.dumps({"prompt": row.prompt, "completion": row.completion}) for row in generate_rows(9, seed=0)
    ]
    clean.write_text("\n" + "\n\n".join(lines) + "\n", encoding="utf-8")
    how = replace(HOW, rate=0.3)
    target = tmp_path / name
    manifest = write_poisoned(poison_file(clean, how), how, source=clean, target=target)
    read = read_rows(target, format="csv" if name.endswith("csv") else "jsonl")
    assert manifest.poisoned_rows == tuple(row.number for row in read if "bb" in row.prompt.split())
    originals = clean.read_text(encoding="utf-8").split("\n")
    assert len(manifest.attacked_rows) == 3
    assert all(originals[number - 1] for number in manifest.attacked_rows)


def test_the_same_settings_give_the_same_bytes(clean: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_poisoned(poison_file(clean, HOW), HOW, source=clean, target=tmp_path / name / "out.csv")
    for name in ("out.csv", "out.csv.manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_clean_file_is_never_overwritten(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(clean)
    before = clean.read_bytes()
    for target in (clean, tmp_path / "link.csv"):
        with pytest.raises(PoisonError, match="would replace the clean one"):
            write_poisoned(poison_file(clean, HOW), HOW, source=clean, target=target)
    assert clean.read_bytes() == before


def test_other_formats_are_not_written(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(PoisonError, match=r"written as \.csv or \.jsonl"):
        write_poisoned(poison_file(clean, HOW), HOW, source=clean, target=tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == [clean]


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="src"):
        poison_file(path, HOW)
