"""``temper projects`` and ``temper keys`` against a real service on loopback."""

import json
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from service_process import ServiceProcess

from deploy.command import commands
from service.client import keys
from service.client import projects
from service.client.administration import lifetime

OPERATOR = "an-operators-key-of-some-length"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One for all of these tests: each makes projects of its own."""
    home = tmp_path_factory.mktemp("service") / "home"
    running = ServiceProcess(home=home, env={"TEMPER_API_KEY": OPERATOR}).start()
    yield running
    running.stop()


@pytest.fixture
def run(
    service: ServiceProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Status, output and complaints of a command."""
    monkeypatch.setenv("TEMPER_URL", service.base_url)

    def call(command: str, *arguments: str, key: str = OPERATOR) -> tuple[int, str, str]:
        monkeypatch.setenv("TEMPER_API_KEY", key)
        main = {"projects": projects.main, "keys": keys.main}[command]
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]


def test_both_are_commands_of_temper() -> None:
    assert {"projects", "keys"} <= commands().keys()


def test_from_a_project_to_a_revoked_key(run: Run, service: ServiceProcess) -> None:
    status, out, _ = run("projects", "create", "team a", "--json")
    project = json.loads(out)
    assert (status, project["name"]) == (0, "team a")
    status, out, said = run(
        "keys", "create", "ci", "--project", project["id"], "--scope", "read", "--scope", "keys",
        "--expires-in", "90d",
    )  # fmt: skip
    assert status == 0
    assert "not shown again" in said
    value = next(word for word in out.split() if word.startswith("tmpr_"))
    status, out, _ = run("keys", "list", "--project", project["id"], key=value)
    assert status == 0
    assert value not in out
    assert "read" in out
    [made] = json.loads(run("keys", "list", "--project", project["id"], "--json")[1])
    assert made["expires_at"] - made["created_at"] == 90 * 86_400
    status, out, _ = run("keys", "revoke", made["id"], "--project", project["id"])
    assert status == 0
    [ended] = json.loads(run("keys", "list", "--project", project["id"], "--json")[1])
    assert ended["revoked_at"] is not None
    status, out, _ = run("projects", "archive", project["id"], "--keep")
    assert (status, "archived" in out) == (0, True)
    assert project["id"] not in run("projects", "list")[1]
    assert project["id"] in run("projects", "list", "--archived")[1]


def test_lists_go_on_to_their_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.administration.PAGE", 2)
    made = {json.loads(run("projects", "create", f"n{n}", "--json")[1])["id"] for n in range(5)}
    assert made <= {each["id"] for each in json.loads(run("projects", "list", "--json")[1])}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["projects", "archive", "proj-none", "--keep"], 66),
        (["keys", "list", "--project", "proj-none"], 66),
        (["keys", "revoke", "aaaaaaaaaaaa"], 66),
        (["projects", "archive", "default", "--erase"], 64),
        (["projects", "create", ""], 64),
    ],
)
def test_what_cannot_be_done_says_why(run: Run, arguments: list[str], status: int) -> None:
    found, out, said = run(*arguments)
    assert (found, out) == (status, "")
    assert said.strip()


def test_whoever_may_not_is_told(run: Run) -> None:
    status, out, said = run("projects", "list", key="tmpr_wrong")
    assert (status, out) == (77, "")
    assert "API key" in said
    assert "tmpr_wrong" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["projects"],
        ["projects", "archive", "p"],
        ["projects", "archive", "p", "--keep", "--erase"],
        ["keys", "create", "n", "--scope", "admin"],
        ["keys", "create", "n", "--expires-in", "90"],
        ["keys", "create", "n", "--expires-in", "0d"],
    ],
)
def test_wrong_arguments_end_with_64(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 64


def test_nobody_there_is_not_our_users_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPER_URL", "http://127.0.0.1:1")
    assert run("projects", "list")[0] == 69


def test_lifetimes_are_a_number_and_a_unit() -> None:
    assert [lifetime(text) for text in ("30s", "5m", "12h", "90d", "2w")] == [
        30,
        300,
        43_200,
        7_776_000,
        1_209_600,
    ]
    for text in ("", "d", "-1d", "1.5d", "1y", "9999999999d", "1 d"):
        with pytest.raises(ValueError, match=r".*"):
            lifetime(text)
