"""Where the key comes from, and who may read it."""

import os
from pathlib import Path

import pytest

from deploy.evidence.keys import SigningKey
from deploy.launch.environment import inherit
from service.environment import SettingsError
from service.evidence.keyring import open_keyring
from service.settings import settings_from_env


def test_the_embedded_service_makes_one_key_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = settings_from_env({"TEMPER_HOME": str(tmp_path / "home")})
    first = open_keyring(settings)
    assert open_keyring(settings).signing.public == first.signing.public
    path = tmp_path / "home" / "signing-key.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home" / "signing-key.pub.pem").read_text() == first.signing.public.pem
    assert sorted(os.listdir(tmp_path / "home")) == ["signing-key.pem", "signing-key.pub.pem"]


def test_a_named_key_and_older_ones_are_read_and_bad_ones_name_their_variable(tmp_path: Path) -> None:
    key, older = SigningKey.generate(), SigningKey.generate()
    (tmp_path / "key.pem").write_bytes(key.to_pem())
    (tmp_path / "older.pem").write_text(older.public.pem)
    variables = {
        "TEMPER_HOME": str(tmp_path / "home"),
        "TEMPER_SIGNING_KEY_FILE": str(tmp_path / "key.pem"),
        "TEMPER_SIGNING_TRUSTED_FILE": str(tmp_path / "older.pem"),
    }
    assert open_keyring(settings_from_env(variables)).trusted == (key.public, older.public)
    assert not (tmp_path / "home").exists()
    for name, path in (
        ("SIGNING_KEY_FILE", "older.pem"),
        ("SIGNING_TRUSTED_FILE", "key.pem"),
        ("SIGNING_KEY_FILE", "none"),
    ):
        bad = {**variables, f"TEMPER_{name}": str(tmp_path / path)}
        with pytest.raises(SettingsError, match=f"TEMPER_{name}"):
            open_keyring(settings_from_env(bad))


def test_jobs_do_not_learn_where_the_key_is(tmp_path: Path) -> None:
    assert "TEMPER_SIGNING_KEY_FILE" not in inherit({"TEMPER_SIGNING_KEY_FILE": "/key"}, scratch=tmp_path)


def test_what_may_be_served_is_a_list_of_words() -> None:
    read = settings_from_env(
        {"TEMPER_SERVE_VERDICTS": "fail, pass", "TEMPER_SERVE_ARMS": "hardened"}
    ).evidence
    assert (read.serve_verdicts, read.serve_arms) == (("pass", "fail"), ("hardened",))
    with pytest.raises(SettingsError, match="TEMPER_SERVE_VERDICTS: 'clean' is not one of"):
        settings_from_env({"TEMPER_SERVE_VERDICTS": "clean"})
