"""The bytes to and from a broker: a socket that is connected on the event loop, plain or TLS.

Nothing here blocks and no thread is involved, so an attempt can be broken off at any time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any, Final

from module_gateway.bus.location import BusLocation
from module_gateway.protocol.errors import BusError

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTP_REQUEST"})
"""OpenSSL's words for a peer that answers something else than TLS."""


async def open_socket(location: BusLocation) -> socket.socket:
    """Connect to the broker.

    Raises:
        OSError: nobody listens there, or there is no such host.
    """
    loop = asyncio.get_running_loop()
    if location.socket is not None:
        return await _connect(socket.AF_UNIX, str(location.socket))
    failure: OSError | None = None
    try:
        addresses = await loop.getaddrinfo(location.host, location.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{location.host!r} cannot be a host name") from error
    for family, _, _, _, address in addresses:
        try:
            stream = await _connect(family, address)
        except OSError as error:
            failure = error
            continue
        # Without it a round trip waits 88 ms for Nagle and the delayed ACK (performance 0).
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream
    raise failure if failure is not None else OSError(f"{location.host} has no address")


async def _connect(family: int, address: Any) -> socket.socket:  # noqa: ANN401  # per family
    stream = socket.socket(family, socket.SOCK_STREAM)
    try:
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, address)
    except BaseException:
        stream.close()
        raise
    return stream


class TlsStream:
    """A TLS connection whose handshake is done, with the part of a socket that paho uses.

    Attributes:
        failure: why TLS broke, for the log; empty while it holds.
        sends_when_readable: what could not be sent waits for bytes of the peer (TLS allows it).
        receives_when_writable: likewise the other way round.
    """

    def __init__(self, secured: ssl.SSLSocket) -> None:
        """Own `secured` from now on."""
        self.failure = ""
        self.sends_when_readable = False
        self.receives_when_writable = False
        self._secured = secured

    @property
    def has_unread(self) -> bool:
        """Whether deciphered bytes wait here: the descriptor does not tell of them."""
        return self._secured.fileno() >= 0 and self._secured.pending() > 0

    def recv(self, buffer_size: int) -> bytes:
        """Like `socket.recv`, also in what it raises."""
        self.receives_when_writable = False
        try:
            return self._secured.recv(buffer_size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            self.receives_when_writable = True
            raise BlockingIOError from None
        except ssl.SSLError as error:
            self.failure = tls_failure(error)
            raise

    def send(self, buffer: bytes | bytearray) -> int:
        """Like `socket.send`, also in what it raises."""
        self.sends_when_readable = False
        try:
            return self._secured.send(buffer)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            self.sends_when_readable = True
            raise BlockingIOError from None
        except OSError:
            with suppress(OSError):
                self.recv(1)  # why the peer hung up may still wait to be read
            raise

    def fileno(self) -> int:
        """Like `socket.fileno`."""
        return self._secured.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # as sockets have it
        """Like `socket.setblocking`."""
        self._secured.setblocking(flag)

    def close(self) -> None:
        """Say that nothing follows, as far as the socket takes it, and close it."""
        with suppress(OSError, ValueError):
            self._secured.unwrap()
        self._secured.close()


Stream = socket.socket | TlsStream
"""What `MqttConnection` runs on."""


async def secure(stream: socket.socket, tls: ssl.SSLContext, host: str) -> TlsStream:
    """Do the TLS handshake; `stream` belongs to the result, and is closed on failure.

    `tls` decides what is verified. Against a silent peer it lasts until it is cancelled.

    Raises:
        BusError: the peer is not who it must be, refuses us, or does not speak TLS.
    """
    secured: ssl.SSLSocket | None = None
    try:
        secured = tls.wrap_socket(stream, server_hostname=host, do_handshake_on_connect=False)
        await _shake_hands(secured)
    except BaseException as error:
        (secured or stream).close()
        if isinstance(error, (OSError, ValueError)):
            raise BusError(tls_failure(error)) from error
        raise
    return TlsStream(secured)


async def _shake_hands(secured: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    descriptor = secured.fileno()
    while True:
        ready: asyncio.Future[None] = loop.create_future()
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            loop.add_reader(descriptor, _wake, ready)
        except ssl.SSLWantWriteError:
            loop.add_writer(descriptor, _wake, ready)
        else:
            return
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def tls_failure(error: OSError | ValueError) -> str:
    """What an operator can do something about, instead of OpenSSL's words where we know better."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not accepted: {error.verify_message}"
        case ssl.SSLEOFError() | ConnectionError():
            return "the broker hung up during TLS: it may not speak TLS at this port"
        case ssl.SSLError() if error.reason in _NOT_TLS:
            return "the broker does not speak TLS at this port"
        case ssl.SSLError() if error.reason is not None and "_ALERT_" in error.reason:
            words = error.reason.lower().replace("_", " ")
            return f"the broker refuses us, most likely for our certificate: {words}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case _:
            return f"TLS failed: {error}"
