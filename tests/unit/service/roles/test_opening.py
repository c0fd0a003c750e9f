import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.store.directory import DirStore
from deploy.store.s3 import S3Store
from deploy.store.s3_settings import S3Settings
from service.environment import SettingsError
from service.roles.opening import ask_store


def test_a_store_that_is_fit_says_nothing(s3_server: Any, tmp_path: Path) -> None:
    ask_store(DirStore(tmp_path))
    ask_store(S3Store(s3_server.bucket, "p", S3Settings(endpoint_url=s3_server.endpoint_url)))


def test_a_store_that_refuses_ends_the_start(s3_server: Any) -> None:
    store = S3Store("no-such-bucket", "p", S3Settings(endpoint_url=s3_server.endpoint_url))
    with pytest.raises(SettingsError, match=r"^object store: bucket_missing: s3://no-such-bucket"):
        ask_store(store)


def test_a_store_that_does_not_answer_is_readiness_business(
    s3_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = S3Settings(endpoint_url="http://127.0.0.1:9", max_attempts=1, connect_timeout_s=0.5)
    with caplog.at_level(logging.WARNING):
        ask_store(S3Store(s3_server.bucket, "p", settings))
    assert "object store not ready" in caplog.text


def test_the_service_says_what_is_wrong_with_its_bucket_and_ends(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMPER_STORE_URI", "s3://no-such-bucket/temper")
    monkeypatch.setenv("TEMPER_HOME", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "service"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "temper: object store: bucket_missing: s3://no-such-bucket"
    )
