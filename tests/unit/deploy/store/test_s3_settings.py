import re
from pathlib import Path
from typing import ClassVar

import pytest

from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreRefused
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import VARIABLES
from deploy.store.s3_settings import S3Settings
from deploy.store.s3_settings import S3SettingsError


def _settings(**environment: str) -> S3Settings:
    return S3Settings.from_environment(environment)


def test_an_empty_environment_is_aws() -> None:
    assert _settings() == S3Settings()
    assert S3Settings().write_options("k") == {}
    assert S3Settings().owner == {}


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert (
        _settings(TEMPER_S3_SSE="", AWS_REGION="", AWS_ENDPOINT_URL="", TEMPER_S3_PART_BYTES="")
        == S3Settings()
    )


def test_every_variable_of_ours_is_read() -> None:
    class Recorder(dict[str, str]):
        read: ClassVar[set[str]] = set()

        def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
            self.read.add(key)
            return default

    S3Settings.from_environment(Recorder())
    assert {name for name in Recorder.read if name.startswith("TEMPER_")} == VARIABLES


def test_endpoint_and_region_as_every_aws_tool_reads_them() -> None:
    both = {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_S3": "https://s3.example:9000"}
    assert _settings(**both).endpoint_url == "https://s3.example:9000"
    assert _settings(AWS_ENDPOINT_URL="http://all.example").endpoint_url == "http://all.example"
    assert _settings(AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="us-west-2").region == "eu-west-1"
    assert _settings(AWS_DEFAULT_REGION="us-west-2").region == "us-west-2"


def test_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").touch()
    settings = _settings(
        AWS_CA_BUNDLE=str(tmp_path / "ca.crt"),
        AWS_MAX_ATTEMPTS="7",
        AWS_REQUEST_CHECKSUM_CALCULATION="WHEN_SUPPORTED",
        AWS_RESPONSE_CHECKSUM_VALIDATION="when_required",
        TEMPER_S3_ADDRESSING="virtual",
        TEMPER_S3_PART_BYTES=str(64 << 20),
        TEMPER_S3_CONCURRENCY="16",
        TEMPER_S3_CONNECT_TIMEOUT_S="1.5",
        TEMPER_S3_READ_TIMEOUT_S="30",
        TEMPER_S3_SSE="aws:kms",
        TEMPER_S3_KMS_KEY_ID="arn:aws:kms:eu-west-1:111122223333:key/1234",
        TEMPER_S3_BUCKET_KEY="true",
        TEMPER_S3_STORAGE_CLASS="INTELLIGENT_TIERING",
        TEMPER_S3_BUCKET_OWNER="111122223333",
        TEMPER_S3_TAGS="on",
    )
    assert settings == S3Settings(
        ca_bundle=tmp_path / "ca.crt",
        max_attempts=7,
        request_checksums="when_supported",
        response_checksums="when_required",
        addressing="virtual",
        part_size_bytes=64 << 20,
        max_concurrency=16,
        connect_timeout_s=1.5,
        read_timeout_s=30.0,
        sse="aws:kms",
        kms_key_id="arn:aws:kms:eu-west-1:111122223333:key/1234",
        bucket_key=True,
        storage_class="INTELLIGENT_TIERING",
        bucket_owner="111122223333",
        tags=True,
    )
    assert settings.owner == {"ExpectedBucketOwner": "111122223333"}
    assert settings.write_options("jobs/1/result.json") == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:aws:kms:eu-west-1:111122223333:key/1234",
        "BucketKeyEnabled": True,
        "StorageClass": "INTELLIGENT_TIERING",
    }


@pytest.mark.parametrize(
    ("key", "tagged"),
    [
        ("jobs/ftjob-1/attempts/2/pod/checkpoints/hardened/00000010/model.safetensors", True),
        ("some/prefix/scans/scan-1/attempts/1/local/checkpoints/x/1/manifest.json", True),
        ("jobs/ftjob-1/attempts/2/pod/models/hardened/model.safetensors", False),
        ("jobs/ftjob-1/result.json", False),
        ("files/checkpoints/x", False),
    ],
)
def test_checkpoints_alone_are_tagged(key: str, tagged: bool) -> None:
    assert S3Settings(tags=True).write_options(key) == ({"Tagging": "temper=checkpoint"} if tagged else {})
    assert S3Settings().write_options(key) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("AWS_ENDPOINT_URL", url)
            for url in ("s3.example", "ftp://s3.example", "http://", "http://h:port")
        ),
        *(("AWS_ENDPOINT_URL_S3", url) for url in ("https://key:secret@h", "https://h?x=1", "not a url")),
        ("AWS_CA_BUNDLE", "/no/such/file"),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "never"),
        ("AWS_RESPONSE_CHECKSUM_VALIDATION", "off"),
        ("TEMPER_S3_ADDRESSING", "host"),
        ("TEMPER_S3_PART_BYTES", str((5 << 20) - 1)),
        ("TEMPER_S3_PART_BYTES", "8MiB"),
        ("TEMPER_S3_CONCURRENCY", "0"),
        ("TEMPER_S3_CONCURRENCY", "2.5"),
        ("TEMPER_S3_CONNECT_TIMEOUT_S", "0"),
        ("TEMPER_S3_READ_TIMEOUT_S", "nan"),
        ("TEMPER_S3_SSE", "aes-256"),
        ("TEMPER_S3_KMS_KEY_ID", "a key"),
        ("TEMPER_S3_BUCKET_KEY", "yes"),
        ("TEMPER_S3_STORAGE_CLASS", "glacier!"),
        ("TEMPER_S3_BUCKET_OWNER", "1111"),
        ("TEMPER_S3_TAGS", "maybe"),
    ],
)
def test_a_bad_value_is_refused_by_its_variables_name(name: str, value: str) -> None:
    with pytest.raises(S3SettingsError, match=rf"^{name}: "):
        _settings(**{name: value})


@pytest.mark.parametrize(
    "environment",
    [
        {"TEMPER_S3_KMS_KEY_ID": "key"},
        {"TEMPER_S3_KMS_KEY_ID": "key", "TEMPER_S3_SSE": "AES256"},
        {"TEMPER_S3_BUCKET_KEY": "true", "TEMPER_S3_SSE": "AES256"},
    ],
)
def test_what_would_be_ignored_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(S3SettingsError, match="is of no use without TEMPER_S3_SSE=aws:kms"):
        _settings(**environment)


@pytest.mark.parametrize("settings", [{"max_attempts": 0}, {"part_size_bytes": 0}, {"max_concurrency": 0}])
def test_sizes_are_at_least_one(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        S3Settings(**settings)  # type: ignore[arg-type]


def test_a_settings_error_is_the_stores() -> None:
    assert issubclass(S3SettingsError, StoreError)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (S3Settings(region="eu-west-1"), "https://bucket-1.s3.eu-west-1.amazonaws.com/k"),
        (S3Settings(region="eu-west-1", addressing="path"), "https://s3.eu-west-1.amazonaws.com/bucket-1/k"),
        (S3Settings(endpoint_url="http://s3.example:9000"), "http://s3.example:9000/bucket-1/k"),
        (
            S3Settings(endpoint_url="http://s3.example:9000", addressing="virtual"),
            "http://bucket-1.s3.example:9000/k",
        ),
    ],
)
def test_how_a_bucket_is_addressed(settings: S3Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3_client.cache_clear()
    signed = s3_client(settings).generate_presigned_url(
        "get_object", Params={"Bucket": "bucket-1", "Key": "k"}
    )
    s3_client.cache_clear()
    assert signed.partition("?")[0] == url


def test_checksums_are_aws_business_unless_asked_for() -> None:
    def config(settings: S3Settings) -> tuple[str, str]:
        made = s3_client(settings).meta.config
        return made.request_checksum_calculation, made.response_checksum_validation

    assert config(S3Settings()) == ("when_supported", "when_supported")
    assert config(S3Settings(endpoint_url="http://s3.example")) == ("when_required", "when_required")
    asked = S3Settings(endpoint_url="http://s3.example", request_checksums="when_supported")
    assert config(asked) == ("when_supported", "when_required")


@pytest.mark.parametrize(
    ("url", "in_the_clear"),
    [
        (None, False),
        ("https://s3.example", False),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http://localhost", False),
        ("http://s3.example", True),
        ("http://127.0.0.1.example.org", True),
        ("http://10.0.0.1:9000", True),
    ],
)
def test_what_travels_in_the_clear(url: str | None, in_the_clear: bool) -> None:
    assert S3Settings(endpoint_url=url).in_the_clear is in_the_clear


def test_every_variable_and_every_refusal_is_on_the_page() -> None:
    page = (Path(__file__).parents[4] / "docs" / "s3.md").read_text()
    assert [name for name in sorted(VARIABLES) if f"`{name}`" not in page] == []
    told = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    known = set(re.findall(r"``([a-z_]+)``", str(StoreRefused.__doc__))) - {"code"}
    assert told - {"unreachable"} == known
