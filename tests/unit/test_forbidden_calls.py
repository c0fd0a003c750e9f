"""Nothing in our source can run what it was given: no unpickling, no eval, no archive, no shell (row M4)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("deploy", "service", "training")
MODULES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "tarfile"})
BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
METHODS = frozenset({"extractall", "load_module", "unsafe_load", "full_load", "allow_pickle"})
CALLS = frozenset(
    {"torch.load", "yaml.load", "os.system", "os.popen", "zipfile.ZipFile", "shutil.unpack_archive"}
)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _of_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
    yield from (f"import {name}" for name in named if name.split(".")[0] in MODULES)


def _of_call(node: ast.Call) -> Iterator[str]:
    name = _name(node.func)
    if isinstance(node.func, ast.Name) and name in BUILTINS:
        yield f"{name}()"
    if name in CALLS or name.rpartition(".")[2] in METHODS:
        yield f"{name}()"
    for keyword in node.keywords:
        is_true = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        if keyword.arg in {"shell", "trust_remote_code", "allow_pickle", "weights_only"} and is_true:
            yield f"{name}({keyword.arg}=...)"


def forbidden(source: str) -> list[str]:
    """``line: what`` for everything in a source file that must not be there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [f"{node.lineno}: {each}" for each in _of_import(node)]
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {each}" for each in _of_call(node)]
    return found


def test_m4_no_source_runs_what_it_is_given() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 200
    found = {str(path.relative_to(ROOT)): forbidden(path.read_text()) for path in paths}
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import tarfile as t",
        "import torch\ntorch.load('x')",
        "import yaml\nyaml.load('x')",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "__import__('x')",
        "import os\nos.system('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import zipfile\nzipfile.ZipFile('x').extractall()",
        "AutoModel.from_pretrained('x', trust_remote_code=flag)",
        "numpy.load('x', allow_pickle=True)",
    ],
)
def test_m4_the_lint_has_teeth(source: str) -> None:
    assert forbidden(source) != []


def test_m4_what_is_harmless_is_left_alone() -> None:
    assert (
        forbidden("import re\nre.compile('x')\nmodel.eval()\nf(trust_remote_code=False, shell=False)") == []
    )
