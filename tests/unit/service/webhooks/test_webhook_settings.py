"""What an operator decides about webhooks."""

from pathlib import Path

import pytest

from service.environment import SettingsError
from service.settings import Role
from service.settings import settings_from_env
from service.webhooks.keys import master_key
from service.webhooks.settings import WebhookSettings

KEY = "k" * 32
HOSTS = {"TEMPER_WEBHOOK_HOSTS": "hooks.example.com, *.example.org:8443"}


def test_nothing_is_on_by_itself() -> None:
    assert settings_from_env({}).webhooks == WebhookSettings()


def test_everything_arrives(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("-")
    env = {
        **HOSTS,
        "TEMPER_WEBHOOK_NETWORKS": "10.1.0.0/16,fd00::/8",
        "TEMPER_WEBHOOK_KEY": KEY,
        "TEMPER_WEBHOOK_CA_FILE": str(tmp_path / "ca.crt"),
        "TEMPER_WEBHOOK_LOOPBACK_HTTP": "1",
        "TEMPER_PUBLIC_URL": "https://temper.example.com/",
    }
    found = settings_from_env(env).webhooks
    assert [(each.host, each.suffix, each.port) for each in found.hosts] == [
        ("hooks.example.com", False, None),
        ("example.org", True, 8443),
    ]
    assert list(map(str, found.networks)) == ["10.1.0.0/16", "fd00::/8"]
    assert found.loopback_http
    assert found.public_url == "https://temper.example.com"
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPER_WEBHOOK_HOSTS", "*"),
        ("TEMPER_WEBHOOK_HOSTS", "*.com"),
        ("TEMPER_WEBHOOK_HOSTS", "https://hooks.example.com"),
        ("TEMPER_WEBHOOK_HOSTS", "hooks.example.com/path"),
        ("TEMPER_WEBHOOK_HOSTS", "0x7f.1"),
        ("TEMPER_WEBHOOK_NETWORKS", "0.0.0.0/0"),
        ("TEMPER_WEBHOOK_NETWORKS", "::/0"),
        ("TEMPER_WEBHOOK_NETWORKS", "10.0.0.1/8"),
        ("TEMPER_WEBHOOK_NETWORKS", "internal"),
        ("TEMPER_WEBHOOK_KEY", "short"),
        ("TEMPER_WEBHOOK_CA_FILE", "/nowhere/ca.crt"),
        ("TEMPER_PUBLIC_URL", "temper.example.com"),
        ("TEMPER_PUBLIC_URL", "https://a b"),
    ],
)
def test_l4_a_value_that_cannot_be_refuses_to_start_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings_from_env({name: value})


def test_l4_a_secret_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from_env({"TEMPER_WEBHOOK_KEY": "hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("role", "needs"), [("api", True), ("reconcile", True), ("broker", False)])
def test_whoever_has_no_lasting_home_needs_the_key(role: Role, needs: bool) -> None:
    assert settings_from_env({**HOSTS, "TEMPER_WEBHOOK_KEY": KEY}, role=role).webhooks.key == KEY.encode()
    if needs:
        with pytest.raises(SettingsError, match="TEMPER_WEBHOOK_KEY"):
            settings_from_env(HOSTS, role=role)
    else:
        assert settings_from_env(HOSTS, role=role).webhooks.key is None


def test_plain_http_to_this_machine_is_not_for_a_service_that_others_reach() -> None:
    env = {
        "TEMPER_WEBHOOK_LOOPBACK_HTTP": "1",
        "TEMPER_HOST": "::",
        "TEMPER_API_KEY": "a-key-of-an-operator-0123",
    }
    with pytest.raises(SettingsError, match="TEMPER_WEBHOOK_LOOPBACK_HTTP"):
        settings_from_env(env)


def test_a_key_that_is_given_is_used_and_none_is_made(tmp_path: Path) -> None:
    settings = settings_from_env({"TEMPER_HOME": str(tmp_path), "TEMPER_WEBHOOK_KEY": KEY})
    assert master_key(settings).key == KEY.encode()
    assert list(tmp_path.iterdir()) == []
