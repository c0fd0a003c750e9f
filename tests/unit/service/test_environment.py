"""Secrets from mounted files, the roles' own rules, and the database's URL."""

from pathlib import Path

import pytest
import yaml

from service.database import Database
from service.environment import SettingsError
from service.settings import Role
from service.settings import settings_from_env

KEY = "k" * 16
PUBLIC = "0.0.0.0"  # noqa: S104
CLUSTER = {
    "release": "temper",
    "broker_url": "http://broker:8002",
    "jobs": {"namespace": "jobs", "service_account": "job", "image": "trainer@sha256:0"},
    "endpoints": {
        "namespace": "endpoints",
        "service_account": "endpoint",
        "image": "vllm@sha256:0",
        "fetch_image": "api@sha256:0",
    },
}


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    key, url = tmp_path / "key", tmp_path / "url"
    key.write_text(f"{KEY}\n")
    url.write_text("postgresql://u:p%40ss@db/temper\r\n")
    settings = settings_from_env(
        {"TEMPER_API_KEY_FILE": str(key), "TEMPER_DATABASE_URL_FILE": str(url), "TEMPER_HOST": PUBLIC}
    )
    assert settings.api_key == KEY
    assert settings.database_url == "postgresql+psycopg://u:p%40ss@db/temper"


def test_a_password_comes_beside_the_url(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p@ss/word")
    env = {"TEMPER_DATABASE_URL": "postgresql://u@db:5433/temper?sslmode=verify-full"}
    expected = "postgresql+psycopg://u:p%40ss%2Fword@db:5433/temper?sslmode=verify-full"
    by_file = settings_from_env({**env, "TEMPER_DATABASE_PASSWORD_FILE": str(password)})
    assert by_file.database_url == expected
    assert settings_from_env({**env, "TEMPER_DATABASE_PASSWORD": "p@ss/word"}).database_url == expected
    assert "word" not in repr(by_file)


@pytest.mark.parametrize("given", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"])
def test_every_way_to_write_postgresql_is_known(given: str) -> None:
    url = settings_from_env({"TEMPER_DATABASE_URL": given}).database_url
    assert url == "postgresql+psycopg://u@h/d"
    assert Database(url).shared


def test_sqlite_is_not_shared(tmp_path: Path) -> None:
    assert not Database(f"sqlite:///{tmp_path}/x.db").shared


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "not text"), (bytes(70_000), "larger")],
)
def test_a_file_that_holds_no_secret_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"TEMPER_API_KEY_FILE: .*{said}"):
        settings_from_env({"TEMPER_API_KEY_FILE": str(path)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TEMPER_API_KEY_FILE: .*No such file"):
        settings_from_env({"TEMPER_API_KEY_FILE": str(tmp_path / "none")})


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both set"):
        settings_from_env({"TEMPER_API_KEY": KEY, "TEMPER_API_KEY_FILE": str(tmp_path)})


def test_a_bad_url_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="TEMPER_DATABASE_URL") as raised:
        settings_from_env({"TEMPER_DATABASE_URL": "postgres//u:hunter2@h"})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("role", "port"), [("embedded", 8000), ("api", 8000), ("reconcile", 8001), ("broker", 8002)]
)
def test_each_role_has_its_port(role: Role, port: int) -> None:
    settings = settings_from_env({}, role=role)
    assert (settings.role, settings.port) == (role, port)
    assert settings_from_env({"TEMPER_PORT": "9"}, role=role).port == 9


@pytest.mark.parametrize("role", ["embedded", "api"])
def test_whoever_serves_the_api_to_others_needs_a_key(role: Role) -> None:
    with pytest.raises(SettingsError, match="TEMPER_API_KEY_FILE"):
        settings_from_env({"TEMPER_HOST": PUBLIC}, role=role)


@pytest.mark.parametrize("role", ["reconcile", "broker", "migrate", "recover"])
def test_the_others_need_none(role: Role) -> None:
    assert settings_from_env({"TEMPER_HOST": PUBLIC}, role=role).api_key is None


def test_a_cluster_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(CLUSTER))
    settings = settings_from_env({"TEMPER_CLUSTER_FILE": str(path)})
    assert settings.cluster is not None
    assert settings.cluster.jobs.namespace == "jobs"
    # Its pods do not see this machine's files.
    assert not settings.local_models
    with pytest.raises(SettingsError, match="TEMPER_LOCAL_MODELS"):
        settings_from_env({"TEMPER_CLUSTER_FILE": str(path), "TEMPER_LOCAL_MODELS": "1"})


@pytest.mark.parametrize(
    ("content", "said"),
    [("release: temper\nqueue: x\n", "broker_url"), ("- a\n", "document"), ("a: [", "cluster.yaml")],
)
def test_what_is_wrong_with_a_cluster_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=f"TEMPER_CLUSTER_FILE: .*{said}"):
        settings_from_env({"TEMPER_CLUSTER_FILE": str(path)})


def test_limits_of_the_database_are_settings() -> None:
    env = {"TEMPER_DATABASE_POOL_SIZE": "7", "TEMPER_DATABASE_LOCK_TIMEOUT_S": "1.5"}
    limits = settings_from_env(env).database
    assert (limits.pool_size, limits.lock_timeout_s, limits.statement_timeout_s) == (7, 1.5, 15.0)
