"""Hostile bytes over real sockets: paths, hosts, framing and bodies."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from served_model import KEY
from served_model import ServedModel
from waiting import until

from service import connection
from service import try_again
from service.auth import OPEN_ROUTES

MIB = 1 << 20
BODY = b'{"model": "tiny", "prompt": "fine"}'
VLLM_ROUTES = [
    "/abort_requests",
    "/classify",
    "/collective_rpc",
    "/detokenize",
    "/docs",
    "/fault_tolerance/status",
    "/finish_weight_update",
    "/get_world_size",
    "/health",
    "/inference/v1/generate",
    "/init_weight_transfer_engine",
    "/invocations",
    "/is_paused",
    "/is_scaling_elastic_ep",
    "/is_sleeping",
    "/kv_event_sources",
    "/load",
    "/openapi.json",
    "/pause",
    "/ping",
    "/pooling",
    "/ready",
    "/rerank",
    "/release_kv_cache_memory",
    "/reset_encoder_cache",
    "/reset_mm_cache",
    "/reset_prefix_cache",
    "/resume",
    "/scale_elastic_ep",
    "/score",
    "/server_info",
    "/shutdown_weight_transfer_engine",
    "/sleep",
    "/start_draft_weight_update",
    "/start_profile",
    "/start_weight_update",
    "/stop_profile",
    "/tokenize",
    "/tokenizer_info",
    "/update_weight_version",
    "/update_weights",
    "/version",
    "/wake_up",
    "/weight_checker",
    "/weight_info",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/classify",
    "/v1/embeddings",
    "/v1/load_lora_adapter",
    "/v1/messages",
    "/v1/pooling",
    "/v1/realtime",
    "/v1/rerank",
    "/v1/responses",
    "/v1/responses/x",
    "/v1/responses/x/cancel",
    "/v1/score",
    "/v1/unload_lora_adapter",
    "/v1/chat/completions/render",
    "/v1/completions/render",
    "/v2/rerank",
    "/v2/embed",
]
OURS_TOO = {"/openapi.json"}
"""A page of ours; the server's own is never asked."""
TRICKS = (
    "/{0}",
    "/v1/..{0}",
    "/v1/%2e%2e{0}",
    "/v1/completions/..{0}",
    "/v1/completions/%2e%2e/%2e%2e{0}",
    "/v1/completions;{0}",
    "/v1/completions%2f..%2f..{0}",
    "/v1/completions%00{0}",
    "/v1/completions\\..\\..{0}",
    "{0}/",
    "{0};x=1",
    "{0}%2f",
    "/%2f{0}",
    "/V1{0}",
)
SPELLINGS = (
    "//v1/completions",
    "/v1//completions",
    "/v1/completions/",
    "/V1/completions",
    "/v1/Completions",
    "/v1/./completions",
    "/v1/../v1/completions",
    "/v1/%2e/completions",
    "/v1/completions;a",
    "/v1/completions%3b",
    "/v1/completions%00",
    "/v1/completions%20",
    "/v1/completions%2f",
    "/v1/completions/render",
    "/v1/completions.json",
    "/v1%2f%2fcompletions",
)


def request(
    target: str, *, method: str = "POST", body: bytes = BODY, headers: str = "", host: str = "x"
) -> bytes:
    """A request as it goes over the wire, with the operator's key."""
    head = (
        f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    )
    head += f"content-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer.split(b" ", 2)[1])


# ---- J1 -------------------------------------------------------------------------------------------


def test_j1_no_route_of_the_server_behind_is_reached_by_any_spelling(served_model: ServedModel) -> None:
    wrong = []
    for route in VLLM_ROUTES:
        targets = [route] if route in OURS_TOO else [route, TRICKS[hash_of(route)].format(route)]
        for target in targets:
            for method in ("GET", "POST"):
                answered = status(served_model.send(request(target, method=method)))
                if answered not in {400, 404, 405} and route not in OURS_TOO:
                    wrong.append((method, target, answered))
    assert wrong == []
    assert served_model.upstream.asked == []


def hash_of(route: str) -> int:
    """Another trick for each route, the same every time."""
    return sum(route.encode()) % len(TRICKS)


def test_j1_every_trick_on_what_would_hurt_most(served_model: ServedModel) -> None:
    for trick in TRICKS:
        for target in ("/sleep", "/v1/load_lora_adapter"):
            assert status(served_model.send(request(trick.format(target)))) in {400, 404, 405}
    assert served_model.upstream.asked == []


def test_j1_other_spellings_of_our_own_route_are_other_routes(served_model: ServedModel) -> None:
    for target in SPELLINGS:
        assert status(served_model.send(request(target))) in {400, 404}, target
    assert served_model.upstream.asked == []
    # An escaped letter is that letter (RFC 3986); what goes up is written here all the same.
    assert status(served_model.send(request("/v1/complet%69ons?a=/../../sleep#x"))) == 200
    assert [asked.line for asked in served_model.upstream.asked] == ["POST /v1/completions HTTP/1.1"]


# ---- J7 -------------------------------------------------------------------------------------------

SMUGGLED = (
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer "
    + (KEY.encode() + b"\r\ncontent-length: 39\r\n\r\n" + b'{"model": "tiny", "prompt": "smuggled"}')
)
FRAMINGS: dict[str, bytes] = {
    "length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 2\r\ncontent-length: 40\r\n\r\n{}",
    "two equal lengths": b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a list of lengths": b"content-length: 2, 40\r\n\r\n{}",
    "a signed length": b"content-length: +2\r\n\r\n{}",
    "a negative length": b"content-length: -1\r\n\r\n",
    "a hexadecimal length": b"content-length: 0x2\r\n\r\n{}",
    "a length that overflows": b"content-length: 18446744073709551618\r\n\r\n{}",
    "a space before the colon": b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks last but one": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a folded header": b"content-type: application/json\r\n x: y\r\ncontent-length: 2\r\n\r\n{}",
    "a folded coding": b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": b"content-length: 2\ntransfer-encoding: chunked\r\n\r\n{}",
    "a bare carriage return": b"x: a\rtransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
    "a NUL in a name": b"content-len\0gth: 2\r\n\r\n{}",
    "a NUL in a value": b"x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "a chunk that is too large": b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
    "a chunk with a sign": b"transfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk with no end": b"transfer-encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
    "an extended chunk with a line feed": b"transfer-encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
    "no name": b": x\r\ncontent-length: 2\r\n\r\n{}",
    "no colon": b"content-length 2\r\n\r\n{}",
}


def test_j7_a_request_that_others_may_frame_otherwise_is_refused_with_all_that_follows(
    served_model: ServedModel,
) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n".encode()
    for framing, rest in FRAMINGS.items():
        answer = served_model.send(head + rest + SMUGGLED)
        assert status(answer) == 400, framing
        assert answer.count(b"HTTP/1.1 ") == 1, f"{framing}: nothing after it is answered"
        assert b"connection: close" in answer.lower(), framing
    assert served_model.upstream.asked == []


def test_j7_one_header_twice_is_no_way_around_the_key(served_model: ServedModel) -> None:
    wrong = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer no\r\nauthorization: Bearer {KEY}\r\n"
    wrong += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
    assert status(served_model.send(wrong.encode() + BODY)) == 401
    assert served_model.upstream.asked == []


# ---- A4 -------------------------------------------------------------------------------------------

HOSTS = (
    "x/healthz",
    "x/healthz?",
    "x/metrics#",
    "x\\healthz",
    "127.0.0.1/readyz?x=",
    "a@b/healthz",
    "/healthz",
    "",
)


def test_a4_a_forged_host_opens_no_route(served_model: ServedModel) -> None:
    """Without a key, each route that wants one, under hosts that look like a path that wants none."""
    asked = 0
    for route in routes_of(served_model.app.routes):
        if route.path in OPEN_ROUTES:
            continue
        for method in sorted(route.methods):
            host = HOSTS[asked % len(HOSTS)]
            asked += 1
            target = route.path.replace("{", "").replace("}", "").replace(":path", "")
            raw = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            assert status(served_model.send(raw.encode())) in {400, 401}, (method, target, host)
    assert asked > 40


def routes_of(routes: list[Any]) -> Iterator[APIRoute]:
    """All of them, those of included routers too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        yield from routes_of(list(getattr(route, "routes", None) or []))


def test_a4_every_forged_host_on_one_route(served_model: ServedModel) -> None:
    for host in HOSTS:
        raw = f"GET /v1/files HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        assert status(served_model.send(raw.encode())) in {400, 401}, host
        twice = f"GET /v1/files HTTP/1.1\r\nhost: x\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        assert status(served_model.send(twice.encode())) in {400, 401}, host
        absolute = f"GET http://x/v1/files HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        assert status(served_model.send(absolute.encode())) in {400, 401}, host


# ---- A5 -------------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    """Of a process, at its highest since it was reset."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


GIGABYTES: dict[str, tuple[bytes, int]] = {
    "declared": (b"content-type: application/json\r\ncontent-length: 1073741824\r\n", 413),
    "in chunks": (b"content-type: application/json\r\ntransfer-encoding: chunked\r\n", 413),
    "without a key": (
        b"content-type: application/json\r\ncontent-length: 1073741824\r\nauthorization: x\r\n",
        401,
    ),
    "of another type": (b"content-type: text/plain\r\ncontent-length: 1073741824\r\n", 415),
}


def test_a5_a_gigabyte_is_refused_in_flat_memory(make_service: Callable[..., Any]) -> None:
    service = make_service(TEMPER_API_KEY=KEY).start()
    with service.client() as client:
        assert client.get("/v1/files").status_code == 200
    for way, (headers, expected) in GIGABYTES.items():
        key = b"" if b"authorization" in headers else f"authorization: Bearer {KEY}\r\n".encode()
        reset_peak(service.pid)
        before = resident_bytes(service.pid)
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n" + key + headers + b"\r\n"
        answer, sent = flood(service.port, head)
        assert status(answer) == expected, way
        assert sent < 1 << 30, "it is not read to its end"
        assert resident_bytes(service.pid) - before < 20 * MIB, way
    assert service.stop() == 0


def flood(port: int, head: bytes) -> tuple[bytes, int]:
    """Send a gigabyte while the other side reads; returns its answer, and how much it took."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n" if b"chunked" in head else b" " * 0x10000
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as to:
        to.sendall(head)
        reader = threading.Thread(target=lambda: answers.append(to.recv(1 << 16)))
        answers: list[bytes] = []
        reader.start()
        try:
            while sent < 1 << 30:
                to.sendall(chunk)
                sent += 0x10000
                if answers and sent > 64 * MIB:
                    break
        except OSError:  # it has closed the connection
            pass
        reader.join(30)
        answer = b"".join(answers)
    return answer, sent


def test_a5_a_header_without_end_is_cut(served_model: ServedModel) -> None:
    with socket.create_connection(("127.0.0.1", served_model.port), timeout=10) as to:
        to.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * MIB:
                to.sendall(b"x" * 65536)
                sent += 65536
    assert sent < 8 * MIB, "what the kernel takes on the way"


def test_a5_a_body_that_drips_is_timed_out(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(try_again, "BODY_S", 0.5)
    monkeypatch.setattr(connection, "LINGER_S", 0.3)
    answer = drip(
        served_model.port, request("/v1/completions", body=b"")[:-21] + b"content-length: 1000\r\n\r\n"
    )
    assert status(answer) == 408
    assert b'"code":"request_timeout"' in answer


def drip(port: int, head: bytes) -> bytes:
    """Send a byte every tenth of a second until there is an answer or the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as to:
        to.sendall(head)
        began = time.monotonic()
        while time.monotonic() - began < 10.0:
            with contextlib.suppress(TimeoutError):
                to.sendall(b" ")
                return to.recv(65536)
    raise AssertionError("it was never answered")


def test_a5_an_upload_that_drips_is_timed_out(make_served_model: Callable[..., ServedModel]) -> None:
    model = make_served_model(TEMPER_UPLOAD_IDLE_S="0.4")
    head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 100000\r\n"
    head += "content-type: multipart/form-data; boundary=b\r\n\r\n"
    head += '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    head += '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    assert status(drip(model.port, head.encode())) == 408


def test_a5_headers_that_drip_are_cut(served_model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    with socket.create_connection(("127.0.0.1", served_model.port), timeout=5) as to:
        to.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert to.recv(10) == b""


@pytest.mark.parametrize("length", [10, 1000])
def test_a5_a_length_that_lies_is_found_out(served_model: ServedModel, length: int) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    answer = served_model.send(head.encode() + BODY, cut=True)
    assert answer == b"" or status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") <= 2
    assert b"200 OK" not in answer
    assert served_model.upstream.asked == []


# ---- A12, H4 --------------------------------------------------------------------------------------


def test_h4_a_server_that_is_paused_is_given_up_and_used_again(
    make_served_model: Callable[..., ServedModel],
) -> None:
    model = make_served_model(TEMPER_INFERENCE_SILENCE_S="0.3")
    timed_out = model.ask("hold")
    assert (timed_out.status_code, timed_out.json()["error"]["code"]) == (504, "upstream_timeout")
    model.upstream.released.set()
    until(lambda: model.ask("hold").status_code == 200, seconds=5.0)
    with pytest.raises(httpx.ReadTimeout):
        model.client(timeout=0.05).post("/v1/completions", json={"model": "tiny", "prompt": "hang"})
