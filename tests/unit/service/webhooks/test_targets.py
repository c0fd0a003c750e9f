"""Which URLs a webhook may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.targets import AllowedHost
from service.webhooks.targets import TargetRefused
from service.webhooks.targets import parse_target

ALLOWED = [
    AllowedHost.parse(text)
    for text in (
        "hooks.example.com",
        "*.corp.example.com",
        "odd.example.com:8443",
        "bücher.example",
        "203.0.113.9",
        "[2001:db8::9]",
        "localhost:9000",
    )
]


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://hooks.example.com/a?b=c", "https://hooks.example.com/a?b=c"),
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("HTTPS://Hooks.EXAMPLE.com:443/A", "https://hooks.example.com/A"),
        ("https://hooks.example.com./", "https://hooks.example.com/"),
        ("https://a.corp.example.com/", "https://a.corp.example.com/"),
        ("https://a.b.corp.example.com/", "https://a.b.corp.example.com/"),
        ("https://odd.example.com:8443/", "https://odd.example.com:8443/"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://203.0.113.9/", "https://203.0.113.9/"),
        ("https://[2001:DB8:0::9]/", "https://[2001:db8::9]/"),
    ],
)
def test_what_is_listed_is_spelled_one_way(url: str, spelled: str) -> None:
    assert parse_target(url, ALLOWED).url == spelled


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "//hooks.example.com/",
        "hooks.example.com",
        "",
        "https://",
        "https:///path",
        "https://other.example.com/",
        "https://hooks.example.com.evil.test/",
        "https://evilhooks.example.com/",
        "https://corp.example.com/",
        "https://evilcorp.example.com/",
        "https://hooks.example.com:8443/",
        "https://odd.example.com/",
        "https://odd.example.com:443/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:x/",
        "https://user@hooks.example.com/",
        "https://user:password@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com@evil.test/",
        "https://evil.test\\@hooks.example.com/",
        "https://hooks.example.com\\.evil.test/",
        "https://evil.test#hooks.example.com",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: evil.test",
        "https://hooks.example.com/\N{SNOWMAN}",
        "https://hooks.example.com\x00.evil.test/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:203.0.113.9]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://\N{FULLWIDTH DIGIT ONE}27.0.0.1/",
        "https://a..corp.example.com/",
        f"https://{'a' * 64}.corp.example.com/",
        f"https://hooks.example.com/{'a' * 2048}",
        "https://127.0.0.1.corp.example.com:8443/",
        "http://localhost:9000/",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse_target(url, ALLOWED)


def test_plain_http_is_for_this_machine_alone_and_only_when_asked() -> None:
    assert parse_target("http://localhost:9000/x", ALLOWED, loopback_http=True).authority == "localhost:9000"
    for url in ("http://hooks.example.com/", "http://203.0.113.9/", "http://localhost/"):
        with pytest.raises(TargetRefused):
            parse_target(url, ALLOWED, loopback_http=True)


def test_nothing_is_allowed_by_an_empty_list() -> None:
    with pytest.raises(TargetRefused, match="TEMPER_WEBHOOK_HOSTS"):
        parse_target("https://hooks.example.com/", [])


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.com",
        "*.",
        "",
        "a b",
        "https://x.example",
        "x.example/p",
        "*.*.example.com",
        "x.example:0",
        "u@x.example",
    ],
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(TargetRefused):
        AllowedHost.parse(entry)


@given(st.text(max_size=60))
def test_no_text_breaks_it_or_gets_past_the_list(text: str) -> None:
    for url in (
        text,
        f"https://{text}",
        f"https://{text}.corp.example.com/",
        f"https://hooks.example.com{text}",
    ):
        try:
            target = parse_target(url, ALLOWED)
        except TargetRefused:
            continue
        assert any(entry.matches(target) for entry in ALLOWED)
        assert target.url.isascii()
        assert parse_target(target.url, ALLOWED) == target
