from pathlib import Path

import pytest

from training.study.declaration import Study
from training.study.declaration import StudyError
from training.study.declaration import read_study


def test_what_is_not_said_has_a_default(study: Study) -> None:
    assert study.data.placement == "random"
    assert study.models["decoder"].architecture == "decoder"
    assert study.training["default"].batch_size == 8
    assert study.matrix[1].seeds == (1,)
    assert study.defences["dece-95"].constants == {"alpha_base": 0.95}


@pytest.mark.parametrize(
    ("said", "instead", "named"),
    [
        ("poison_rates = [0.1, 0.2]", "poison_rates = [0.0]", "matrix.0.poison_rates.0"),
        ("poison_rates = [0.1, 0.2]", "poison_rates = [1.5]", "matrix.0.poison_rates.0"),
        ("poison_rates = [0.1, 0.2]", "poison_rates = []", "matrix.0.poison_rates"),
        ('models = ["decoder"]', 'models = ["decodr"]', "matrix.1.models: 'decodr'"),
        ('defences = ["dece", "dece-95"]', 'defences = ["dece-96"]', "matrix.1.defences: 'dece-96'"),
        ("seeds = [1, 2]", 'seeds = [1, 2]\ntraining = "quick"', "matrix.0.training: 'quick'"),
        ("alpha_base = 0.95", "alpha_base = 1.5", "defences.dece-95.alpha_base"),
        ("alpha_base = 0.95", "alpha = 0.95", "defences.dece-95.alpha"),
        ("hidden = 32", "hidden = 'wide'", "models.decoder.hidden"),
        ("epochs = 2", "epochs = nan", "training.long.epochs"),
        ('title = "A small study"\n', "", "title"),
        ("[data]", "[data", "line"),
    ],
)
def test_what_is_wrong_is_named(declared: str, tmp_path: Path, said: str, instead: str, named: str) -> None:
    assert said in declared
    path = tmp_path / "wrong.toml"
    path.write_text(declared.replace(said, instead, 1))
    with pytest.raises(StudyError) as caught:
        read_study(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nothing\.toml: No such file"):
        read_study(tmp_path / "nothing.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(StudyError, match=r"bytes\.toml"):
        read_study(path)
