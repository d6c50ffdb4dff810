from __future__ import annotations

import asyncio
import json

import pytest

from module_gateway.control_plane import guard as guard_module
from module_gateway.control_plane.guard import Guard, is_loopback


async def echo(scope, receive, send):
    """Answers with the body that it got."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def ask(method="GET", body=b"", chunks=None, allowed=(), hangs=False, **headers):
    """Status, body and headers of the answer."""
    given = {"host": "127.0.0.1:8080", "content-length": str(len(body)), **headers}
    given = {key.replace("_", "-"): value for key, value in given.items() if value is not None}
    scope = {
        "type": "http",
        "method": method,
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
    }
    parts = list(chunks or [body])
    answer = []

    async def receive():
        if hangs:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        answer.append(message)

    guarded = Guard(echo, allowed_hosts=allowed, body_bytes=10)
    await asyncio.wait_for(guarded(scope, receive, send), 30)
    return answer[0]["status"], answer[1]["body"], dict(answer[0]["headers"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "127.9.9.9"]
)
async def test_loopback_names_are_served(host):
    assert (await ask(host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "127.0.0.1@evil.example",
        "localhost/x",
        "[::1",
        "localhost:http",
        "10.0.0.1",
        "a b",
    ],
)
async def test_other_names_are_refused_with_a_sentence(host):
    status, body, _ = await ask(host=host)
    assert status == 421
    assert "allowed-hosts" in json.loads(body)["error"]


async def test_configured_names_are_served():
    assert (await ask(host="Fleet.example:80", allowed=["fleet.example"]))[0] == 200
    assert (await ask(host="anything.example", allowed=["*"]))[0] == 200
    assert (await ask(host="other.example", allowed=["fleet.example"]))[0] == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-origin", "origin": "http://evil.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_changes_from_another_origin_are_refused(method, headers):
    assert (await ask(method, **headers))[0] == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://127.0.0.1:8080", "sec_fetch_site": "same-origin"}],
)
async def test_changes_from_programs_and_from_our_page_are_served(headers):
    assert (await ask("POST", b"12345", **headers))[:2] == (200, b"12345")


async def test_reading_is_no_change():
    assert (await ask("GET", origin="http://evil.example"))[0] == 200


async def test_a_large_body_is_refused_before_it_is_read():
    status, body, headers = await ask("POST", content_length="11", hangs=True)
    assert status == 413
    assert "10 bytes" in json.loads(body)["error"]
    assert headers[b"connection"] == b"close"


async def test_a_body_that_grows_beyond_the_bound_is_refused():
    status, _, _ = await ask(
        "POST", chunks=[b"123456", b"123456"], content_length=None, transfer_encoding="chunked"
    )
    assert status == 413


async def test_a_chunked_body_arrives_whole():
    status, body, _ = await ask(
        "POST", chunks=[b"123", b"456"], content_length=None, transfer_encoding="chunked"
    )
    assert (status, body) == (200, b"123456")


async def test_a_body_that_never_arrives_is_given_up(monkeypatch):
    monkeypatch.setattr(guard_module, "BODY_TIMEOUT_S", 0.01)
    assert (await ask("POST", content_length="5", hangs=True))[0] == 408


async def test_every_answer_carries_the_safe_headers():
    for host in ("localhost", "evil.example"):
        _, _, headers = await ask(host=host)
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"x-frame-options"] == b"DENY"


async def test_other_kinds_of_connections_are_ignored():
    async def refuse(*_):
        raise AssertionError("reached the application")

    await Guard(refuse, allowed_hosts=(), body_bytes=10)({"type": "websocket"}, refuse, refuse)


def test_loopback_is_this_machine_only():
    assert [is_loopback(name) for name in ("::1", "127.0.0.2", "0.0.0.0", "::", "x")] == [
        True,
        True,
        False,
        False,
        False,
    ]
