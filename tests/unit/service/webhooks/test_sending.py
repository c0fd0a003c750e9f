"""One POST to a real HTTPS server on loopback, and what a hostile one can make of it: nothing."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificate
from webhook_receiver import NAME
from webhook_receiver import Receiver
from webhook_receiver import plain
from webhook_receiver import receiving

from service.webhooks.sending import MAX_ANSWER_BYTES
from service.webhooks.sending import NotSent
from service.webhooks.sending import Refused
from service.webhooks.sending import Reply
from service.webhooks.sending import Sender
from service.webhooks.sending import resolve
from service.webhooks.targets import AllowedHost
from service.webhooks.targets import Target
from service.webhooks.targets import parse_target

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.fixture(scope="module")
def module_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@pytest.fixture
def receiver(module_receiver: Receiver) -> Receiver:
    module_receiver.received.clear()
    module_receiver.server_names.clear()
    module_receiver.answer = lambda handler: plain(handler, 204)
    return module_receiver


def target_of(receiver: Receiver, host: str = NAME) -> Target:
    return parse_target(
        f"https://{host}:{receiver.port}/hook?for=temper", [AllowedHost.parse(f"{host}:{receiver.port}")]
    )


def send(
    receiver: Receiver, *, to: Target | None = None, resolved: tuple[str, ...] = ("127.0.0.1",), **more: Any
) -> Reply:
    settings: dict[str, Any] = {"networks": LOOPBACK, "tls": receiver.tls, "timeout_s": 5.0}
    settings["resolve"] = lambda _host, _port: resolved
    sender = Sender(**settings | more)
    try:
        return sender.post(to or target_of(receiver), b"{}", {"content-type": "application/json"})
    finally:
        sender.close()


def test_it_comes_as_it_was_sent_with_our_headers_and_no_others(receiver: Receiver) -> None:
    receiver.answer = lambda handler: plain(handler, 202, b"thanks", Retry_After="3")
    reply = send(receiver)
    assert (reply.status, reply.body, reply.retry_after) == (202, b"thanks", "3")
    (received,) = receiver.received
    assert received.path == "/hook?for=temper"
    assert received.body == b"{}"
    assert received.named == {
        "host": f"{NAME}:{receiver.port}",
        "content-length": "2",
        "connection": "close",
        "content-type": "application/json",
    }
    assert receiver.server_names == [NAME]


def test_the_name_is_looked_up_once_and_the_connection_goes_to_that_very_address(receiver: Receiver) -> None:
    asked = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    assert send(receiver, resolve=rebinding).status == 204
    assert asked == [NAME]


@pytest.mark.parametrize(
    "resolved",
    [
        ("127.0.0.1",),
        ("10.0.0.1",),
        ("169.254.169.254",),
        ("100.64.1.1",),
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("8.8.8.8", "127.0.0.1"),
        ("8.8.8.8", "not an address"),
        (),
    ],
)
def test_nothing_is_sent_where_one_of_a_names_addresses_is_not_public(
    receiver: Receiver, resolved: tuple[str, ...]
) -> None:
    with pytest.raises(Refused, match="TEMPER_WEBHOOK_NETWORKS"):
        send(receiver, resolved=resolved, networks=[])
    assert receiver.received == []


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    for status in (301, 302, 303, 307, 308):
        receiver.answer = lambda handler, status=status: plain(
            handler, status, Location=f"https://127.0.0.1:{receiver.port}/elsewhere"
        )
        assert send(receiver).status == status
    assert {received.path for received in receiver.received} == {"/hook?for=temper"}


def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(receiver).status == 204


def test_a_certificate_of_another_authority_or_name_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    write_certificate(tmp_path / "other.crt", tmp_path / "other.key", NAME)
    with pytest.raises(NotSent, match="certificate is not valid"):
        send(receiver, tls=ssl.create_default_context(cafile=str(tmp_path / "other.crt")))
    with pytest.raises(NotSent, match="certificate is not valid"):
        send(receiver, to=target_of(receiver, "other.example.test"))
    assert receiver.received == []


def test_of_a_long_answer_the_beginning_is_kept(receiver: Receiver) -> None:
    receiver.answer = lambda handler: plain(handler, 500, b"x" * (10 * MAX_ANSWER_BYTES))
    reply = send(receiver)
    assert reply.status == 500
    assert reply.body == b"x" * 1024


def test_an_answer_without_an_end_is_given_up(receiver: Receiver) -> None:
    sent = 0

    def endless(handler: Any) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 100 * MAX_ANSWER_BYTES:
            sent += handler.wfile.write(b"x" * 4096)

    receiver.answer = endless
    assert send(receiver).status == 200
    assert sent < 100 * MAX_ANSWER_BYTES


def test_a_head_without_an_end_is_no_answer(receiver: Receiver) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        for number in range(90):
            handler.send_header(f"x-{number}", "x" * 4096)
        handler.end_headers()

    receiver.answer = endless
    with pytest.raises(NotSent, match="head is too large"):
        send(receiver)


def dripping(receiver: Receiver, drip: Callable[[Any], None]) -> None:
    def answer(handler: Any) -> None:
        end = time.monotonic() + 5.0
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while time.monotonic() < end:
            drip(handler)
            handler.wfile.flush()
            time.sleep(0.05)

    receiver.answer = answer


def test_a_head_that_drips_ends_at_the_deadline(receiver: Receiver) -> None:
    dripping(receiver, lambda handler: handler.wfile.write(b"x"))
    started = time.monotonic()
    with pytest.raises(NotSent, match="no answer within"):
        send(receiver, timeout_s=0.6)
    assert time.monotonic() - started < 3.0


def test_a_body_that_drips_ends_at_the_deadline_and_the_status_counts(receiver: Receiver) -> None:
    begun = threading.Event()

    def drip(handler: Any) -> None:
        handler.wfile.write(b"x" if begun.is_set() else b"\r\n")
        begun.set()

    dripping(receiver, drip)
    started = time.monotonic()
    assert send(receiver, timeout_s=0.6).status == 200
    assert time.monotonic() - started < 3.0


def test_a_silent_server_and_a_silent_handshake_end_at_the_deadline(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = parse_target(
            f"https://{NAME}:{silent.getsockname()[1]}/",
            [AllowedHost.parse(f"{NAME}:{silent.getsockname()[1]}")],
        )
        started = time.monotonic()
        with pytest.raises(NotSent):
            send(receiver, to=to, timeout_s=0.4)
        assert time.monotonic() - started < 3.0


def test_a_resolver_that_hangs_ends_at_the_deadline(receiver: Receiver) -> None:
    hung = threading.Event()

    def hangs(_host: str, _port: int) -> list[str]:
        hung.wait(5.0)
        return ["127.0.0.1"]

    try:
        with pytest.raises(NotSent, match="resolved in time"):
            send(receiver, resolve=hangs, timeout_s=0.3)
    finally:
        hung.set()
    assert receiver.received == []


def test_a_name_that_does_not_exist_is_said_so(receiver: Receiver) -> None:
    def missing(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(NotSent, match="cannot be resolved"):
        send(receiver, resolve=missing)


def test_what_is_no_http_is_no_answer(receiver: Receiver) -> None:
    for answer in (b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\r\n\r\n", b""):
        receiver.answer = lambda handler, answer=answer: handler.wfile.write(answer) and None
        with pytest.raises(NotSent):
            send(receiver)


def test_the_next_address_is_tried_when_one_takes_no_connection(receiver: Receiver) -> None:
    # Nothing listens on the other address of loopback at this port.
    assert send(receiver, resolved=("127.0.0.2", "127.0.0.1")).status == 204


def test_plain_http_goes_to_loopback_only(tmp_path: Path) -> None:
    with receiving(tmp_path, secure=False) as receiver:
        entry = AllowedHost.parse(f"localhost:{receiver.port}")
        to = parse_target(f"http://localhost:{receiver.port}/", [entry], loopback_http=True)
        assert send(receiver, to=to, networks=[]).status == 204
        with pytest.raises(Refused):
            send(receiver, to=to, resolved=("8.8.8.8",), networks=[])


def test_the_systems_resolver_knows_this_machine() -> None:
    assert "127.0.0.1" in resolve("localhost", 443)
