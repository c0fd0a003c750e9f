"""What refuses to start."""

from pathlib import Path

import pytest

from service.environment import SettingsError
from service.settings import KNOWN
from service.settings import is_loopback
from service.settings import settings_from_env

KEY = "k" * 16


def test_the_defaults_serve_this_machine_only(tmp_path: Path) -> None:
    settings = settings_from_env({"TEMPER_HOME": str(tmp_path), "PATH": "/bin"})
    assert (settings.host, settings.port, settings.api_key) == ("127.0.0.1", 8000, None)
    assert settings.database_url == f"sqlite:///{tmp_path}/temper.db"
    assert settings.store_uri == f"file://{tmp_path}/objects"
    assert settings.max_file_bytes == 8 << 30
    assert settings.local_models is True
    assert settings.loopback is True


def test_the_home_is_absolute() -> None:
    assert settings_from_env({}).home == Path.cwd() / "var"


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="TEMPER_PROT"):
        settings_from_env({"TEMPER_PROT": "80"})


def test_variables_of_a_job_are_left_alone() -> None:
    settings_from_env({"TEMPER_POD": "x", "TEMPER_SCRATCH": "/tmp/x"})  # noqa: S108


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])  # noqa: S104
def test_l4_a_public_host_needs_a_key(host: str) -> None:
    with pytest.raises(SettingsError, match="TEMPER_API_KEY"):
        settings_from_env({"TEMPER_HOST": host})
    settings = settings_from_env({"TEMPER_HOST": host, "TEMPER_API_KEY": KEY})
    assert settings.local_models is False


def test_local_models_and_a_public_host_exclude_each_other() -> None:
    env = {"TEMPER_HOST": "10.0.0.1", "TEMPER_API_KEY": KEY, "TEMPER_LOCAL_MODELS": "1"}
    with pytest.raises(SettingsError, match="TEMPER_LOCAL_MODELS"):
        settings_from_env(env)


@pytest.mark.parametrize("key", ["", "k" * 15, "k" * 15 + " ", "ключ" * 8, "k" * 16 + "\n"])
def test_l4_a_key_that_cannot_serve_is_refused_unseen(key: str) -> None:
    with pytest.raises(SettingsError, match="TEMPER_API_KEY") as raised:
        settings_from_env({"TEMPER_API_KEY": key})
    assert not key or key not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    env = {"TEMPER_API_KEY": KEY, "TEMPER_DATABASE_URL": "postgresql://u:hunter2@h/d"}
    shown = repr(settings_from_env(env))
    assert KEY not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("MAX_FILE_BYTES", "0"),
        ("MAX_FILE_BYTES", "8GiB"),
        ("MAX_RUNNING_JOBS", "-1"),
        ("MAX_RUNNING_SCANS", "0"),
        ("SCAN_DEADLINE_S", "0"),
        ("STALL_S", "-1"),
        ("UPLOAD_IDLE_S", "nan"),
        ("UPLOAD_IDLE_S", "soon"),
        ("RECONCILE_INTERVAL_S", "inf"),
        ("LOCAL_MODELS", "maybe"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"TEMPER_{name}"):
        settings_from_env({f"TEMPER_{name}": value})


def test_every_known_variable_is_read() -> None:
    read = set()

    class Recorder(dict[str, str]):
        def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
            read.add(key)
            return default

    settings_from_env(Recorder())
    assert read == KNOWN


def test_a_bad_setting_of_s3_is_named_where_s3_is_the_store() -> None:
    bad = {"TEMPER_S3_PART_BYTES": "1"}
    with pytest.raises(SettingsError, match=r"^TEMPER_S3_PART_BYTES: 1 is not between"):
        settings_from_env({"TEMPER_STORE_URI": "s3://bucket", **bad})
    settings_from_env(bad)


def test_an_unknown_setting_of_s3_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"TEMPER_S3_PART_SIZE.*TEMPER_S3_PART_BYTES"):
        settings_from_env({"TEMPER_S3_PART_SIZE": "1"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.evil.org", "127.0.0.1.evil.org", "1.2.3.4", "::", "", "2130706433"]
)
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)


S3 = {"TEMPER_STORE_URI": "s3://bucket"}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("url", ["http://s3.internal:9000", "http://10.0.0.1", "http://127.0.0.1.evil.org"])
def test_l4_plain_http_to_another_machine_is_refused_unless_it_is_meant(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match="TEMPER_S3_ALLOW_HTTP=1"):
        settings_from_env({**S3, name: url})
    settings_from_env({**S3, name: url, "TEMPER_S3_ALLOW_HTTP": "1"})
    settings_from_env({name: url})  # nobody asks it: the store is a directory
    settings_from_env({**S3, name: url.replace("http:", "https:")})


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000"])
def test_l4_plain_http_within_this_machine_is_taken(url: str) -> None:
    settings_from_env({**S3, "AWS_ENDPOINT_URL_S3": url})


@pytest.mark.parametrize("key", ["changeme-changeme", "CHANGE-ME-0123456789", "your-api-key-goes-here"])
def test_l4_the_key_of_an_example_is_refused_unseen(key: str) -> None:
    with pytest.raises(SettingsError, match="TEMPER_API_KEY") as raised:
        settings_from_env({"TEMPER_API_KEY": key})
    assert key not in str(raised.value)


def test_l4_there_is_no_switch_that_makes_errors_tell_more() -> None:
    assert not [name for name in KNOWN if "DEBUG" in name or "TRACE" in name]
    for name in ("TEMPER_DEBUG", "TEMPER_RELOAD"):
        with pytest.raises(SettingsError, match=name):
            settings_from_env({name: "1"})
