"""Every query knows whose rows it may see."""

import ast
from pathlib import Path

import service

SERVICE = Path(service.__file__).parent
OF_A_ROW = ("Row", "EventRow", "RequestRow")
"""How names of types of rows end. A row was read for its project, and says it."""


def without_project(source: str) -> list[str]:
    """Public functions and methods that neither take a project or a row, nor belong to a class that has a project."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and not _is_owned(node):
            found.append(node.name)
        if isinstance(node, ast.ClassDef):
            fields = {
                each.target.id
                for each in node.body
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
            }
            if "project" not in fields and any("session" in _arguments(each) for each in _methods(node)):
                found += [f"{node.name}.{each.name}" for each in _methods(node) if not _is_owned(each)]
    return found


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def _arguments(function: ast.FunctionDef) -> dict[str, str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {each.arg: ast.unparse(each.annotation) if each.annotation else "" for each in arguments}


def _is_owned(function: ast.FunctionDef) -> bool:
    arguments = _arguments(function)
    if function.name.startswith("_") or "project" in arguments:
        return True
    return any(kind.endswith(OF_A_ROW) for name, kind in arguments.items() if name != "self")


def test_l2_every_method_of_a_repository_takes_the_project() -> None:
    repositories = sorted(SERVICE.glob("*/repository.py"))
    assert len(repositories) >= 9
    named = {str(path.relative_to(SERVICE)): without_project(path.read_text()) for path in repositories}
    # Inserts a row, whichever it is.
    named["work/repository.py"].remove("insert_once")
    assert {path: found for path, found in named.items() if found} == {}


def test_l2_the_lint_finds_a_method_without_it() -> None:
    source = """
class Rows:
    session: Session
    def get(self, session, row_id: str): ...
    def mine(self, session, project: str): ...
    def change(self, session, row: JobRow): ...

class Owned:
    session: Session
    project: str
    def get(self, row_id: str): ...

def everything(session: Session): ...
"""
    assert without_project(source) == ["Rows.get", "everything"]


def test_l2_nothing_else_asks_for_rows_of_tenants() -> None:
    """Queries over all projects lie in modules named fleet; a few others have an id that they were given by a pod."""
    allowed = {
        *(
            f"recovery/{name}.py" for name in ("base_models", "files", "projects", "work")
        ),  # rebuild everything
        "broker/authoriser.py",  # a pod's own job, by the name that its cluster gave it
        "projects/archiving.py",
        "projects/lookup.py",  # the question that says which project it is
        "jobs/publication.py",  # a job's own models
        "webhooks/outbox.py",  # a project's own, by its name
    }
    tables = (
        "FileRow",
        "UploadRow",
        "BaseModelRow",
        "JobRow",
        "ScanRow",
        "ModelRow",
        "EndpointRow",
        "WebhookRow",
    )
    found = []
    for path in sorted(SERVICE.rglob("*.py")):
        name = str(path.relative_to(SERVICE))
        if path.name in {"repository.py", "fleet.py", "tables.py"} or name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = {each.id for each in node.args if isinstance(each, ast.Name)}
            if called in {"select", "get", "update", "delete"} and names & set(tables):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_l2_every_row_that_is_made_says_whose_it_is() -> None:
    """The column's default is for rows of older versions, not for code that forgets."""
    owned = {"FileRow", "UploadRow", "BaseModelRow", "JobRow", "ScanRow", "ModelRow", "EndpointRow"}
    found = []
    for path in sorted(SERVICE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in owned:
                given = {each.arg for each in node.keywords}
                if "project" not in given and None not in given:
                    found.append(f"{path.relative_to(SERVICE)}:{node.lineno}")
    assert found == []
