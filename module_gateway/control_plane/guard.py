"""Who may ask the API: programs on this machine, and pages that this server itself delivered.

There are no accounts in this first cut, so a web page from elsewhere must get nothing out of it:
neither by a name that it resolves to this machine (DNS rebinding: the Host header is checked)
nor by sending forms or scripts' requests (cross-origin: Origin and Sec-Fetch-Site are checked).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_TIMEOUT_S: Final = 10.0
"""For the whole body of a request."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Refusal(Exception):  # noqa: N818 - it is an answer
    """This request is not served. `sentence` says why, for the one who sent it."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(sentence)


class Guard:
    """ASGI middleware: checks who asks, bounds the body in size and time, adds safe headers."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Collection[str], body_bytes: int) -> None:
        """`allowed_hosts` besides loopback names; "*" allows every one."""
        self._app = app
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with a sentence in JSON."""
        if scope["type"] != "http":
            return  # no web sockets here; the start of the process is not the web server's matter

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
            self._check(scope["method"], headers)
            body = await self._read_body(headers, receive)
        except Refusal as refusal:
            await _answer(refusal, send_safely)
            return
        await self._app(scope, _replay(body, receive), send_safely)

    def _check(self, method: str, headers: Mapping[str, bytes]) -> None:
        host = headers.get("host", b"").decode("latin-1")
        if not self._is_host_allowed(host):
            raise Refusal(
                421,
                f"this server does not answer under the name {host[:64]!r}; ask 127.0.0.1 or "
                "localhost, or name it in control-plane-settings.allowed-hosts",
            )
        if method in SAFE_METHODS:
            return
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", b"none")
        if site not in {b"none", b"same-origin"} or not _is_same_origin(origin, host):
            raise Refusal(403, "a page from another origin may not change anything here")

    def _is_host_allowed(self, host: str) -> bool:
        name = _host_name(host)
        return name is not None and (
            is_loopback(name) or name in self._allowed_hosts or "*" in self._allowed_hosts
        )

    async def _read_body(self, headers: Mapping[str, bytes], receive: Receive) -> bytes:
        length = headers.get("content-length", b"0")
        if length.isdigit() and int(length[:12]) > self._body_bytes:
            raise Refusal(413, f"the body is larger than {self._body_bytes} bytes")
        if length == b"0" and "transfer-encoding" not in headers:
            return b""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > self._body_bytes:
                        raise Refusal(413, f"the body is larger than {self._body_bytes} bytes")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error


def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str | None:
    """The name in a Host header, without port and brackets; None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
        _ = parts.port  # a ValueError if it is none
    except ValueError:
        return None
    return parts.hostname if is_bare else None


def _is_same_origin(origin: bytes | None, host: str) -> bool:
    """Programs send no Origin; a browser always does with what may change something."""
    if origin is None:
        return True
    text = origin.decode("latin-1").lower()
    return text in {f"http://{host.lower()}", f"https://{host.lower()}"}


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what the connection says later."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
