"""The key that signs evidence: made once or named, and the reconciler's alone."""

import base64
from typing import Any

import pytest
from rendered_chart import EXTERNAL
from rendered_chart import SITE
from rendered_chart import Object
from rendered_chart import merged
from rendered_chart import of_kind
from rendered_chart import render

from deploy.evidence.keys import SigningKey
from service.settings import settings_from_env

SECRET = "temper-signing-key"


def _pods(objects: list[Object]) -> dict[str, Object]:
    """Pod specifications by component."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["spec"]
        for each in (*of_kind(objects, "Deployment"), *of_kind(objects, "Job"))
    }


def _secrets(pod: Object) -> dict[str, list[str]]:
    """Keys of Secrets by the Secret's name, as far as they are mounted."""
    sources = [
        source for volume in pod["volumes"] for source in (volume.get("projected") or {}).get("sources", [])
    ]
    return {
        source["secret"]["name"]: [item["key"] for item in source["secret"]["items"]]
        for source in sources
        if "secret" in source
    }


def _variables(pod: Object) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}


def test_l6_a_key_is_made_that_signs_and_only_the_reconciler_gets_it() -> None:
    objects = render(merged(SITE, EXTERNAL))
    (secret,) = [each for each in of_kind(objects, "Secret") if each["metadata"]["name"] == SECRET]
    key = SigningKey.from_pem(base64.b64decode(secret["data"]["signing-key.pem"]))
    assert key.public.verifies(key.sign(b"model"), b"model")
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for component, pod in _pods(objects).items():
        given = SECRET in _secrets(pod)
        assert given == (component == "reconciler"), component
        assert ("TEMPER_SIGNING_KEY_FILE" in _variables(pod)) == given


def test_a_named_secret_is_mounted_with_the_keys_that_signed_before() -> None:
    signing = {"existingSecret": "model-key", "key": "private.pem", "trustedKey": "older.pem"}
    objects = render(merged(SITE, EXTERNAL, {"signing": signing}))
    assert not [each for each in of_kind(objects, "Secret") if each["metadata"]["name"] == SECRET]
    pods = _pods(objects)
    assert _secrets(pods["reconciler"])["model-key"] == ["private.pem", "older.pem"]
    assert (
        _variables(pods["reconciler"])["TEMPER_SIGNING_TRUSTED_FILE"]
        == "/etc/temper/secrets/trusted-keys.pem"
    )
    assert "model-key" not in _secrets(pods["api"])


def test_older_keys_without_a_secret_of_ones_own_are_refused() -> None:
    with pytest.raises(Exception, match=r"signing\.trustedKey"):
        render(merged(SITE, EXTERNAL, {"signing": {"trustedKey": "older.pem"}}))


def test_what_may_be_served_reaches_both_who_check_it() -> None:
    serve = {"verdicts": ["pass"], "arms": ["hardened"], "unsigned": False}
    pods = _pods(render(merged(SITE, EXTERNAL, {"endpoints": {"serve": serve}})))
    for component in ("api", "reconciler"):
        found = {name: value for name, value in _variables(pods[component]).items() if "_SERVE_" in name}
        settings = settings_from_env(found)
        assert settings.evidence.serve_verdicts == ("pass",)
        assert settings.evidence.serve_arms == ("hardened",)
        assert not settings.evidence.serve_unsigned


@pytest.mark.parametrize("serve", [{"verdicts": []}, {"verdicts": ["good"]}, {"arms": ["other"]}])
def test_words_that_mean_nothing_are_refused(serve: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="serve"):
        render(merged(SITE, EXTERNAL, {"endpoints": {"serve": serve}}))
