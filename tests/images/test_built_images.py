"""The images as a container engine built them: ``pytest -m images`` with TEMPER_API_IMAGE and TEMPER_TRAINER_IMAGE."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.images
ENGINE = os.environ.get("ENGINE", "docker")
IMAGES = {"api": "TEMPER_API_IMAGE", "trainer": "TEMPER_TRAINER_IMAGE"}
HARDENED = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


@pytest.fixture(params=list(IMAGES))
def image(request: pytest.FixtureRequest) -> str:
    variable = IMAGES[request.param]
    if variable not in os.environ:
        pytest.fail(f"{variable} names no image; build one with make image")
    return os.environ[variable]


def run(image: str, command: str) -> subprocess.CompletedProcess[str]:
    argv = [ENGINE, "run", "--rm", *HARDENED, "--tmpfs=/tmp", "--entrypoint=sh", image, "-c", command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_the_user_has_no_rights(image: str) -> None:
    assert run(image, "id -u; id -g").stdout.split() == ["10001", "10001"]


def test_nothing_of_the_image_can_be_written_or_lends_rights(image: str) -> None:
    searched = "find /opt /usr /etc -xdev \\( -writable -o -perm /6000 \\) -not -type l"

    assert run(image, searched).stdout == ""


def test_no_installer_is_left(image: str) -> None:
    assert run(image, "command -v pip pip3 apt-add-repository").stdout == ""
    assert run(image, "python -m pip --version").returncode != 0


def test_the_api_has_neither_torch_nor_a_compiler_nor_the_training_package() -> None:
    image = os.environ["TEMPER_API_IMAGE"]

    for absent in ("torch", "transformers", "training"):
        assert "ModuleNotFoundError" in run(image, f"python -c 'import {absent}'").stderr
    assert run(image, "command -v gcc cc tcc clang").stdout == ""
    assert run(image, "python -m service --help").returncode == 0


def test_the_trainer_answers_and_has_no_service() -> None:
    image = os.environ["TEMPER_TRAINER_IMAGE"]

    for module in ("training", "training.scan"):
        assert run(image, f"python -m {module} --help").returncode == 0
    assert "ModuleNotFoundError" in run(image, "python -c 'import service'").stderr
