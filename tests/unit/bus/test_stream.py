"""Sockets to brokers, plain and TLS (E21)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import cast

import pytest
import uvloop

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt_connection import MqttConnection
from module_gateway.bus.stream import TlsStream, open_socket, secure, tls_failure
from module_gateway.protocol.errors import BusError
from tests.brokers import TlsMosquittoBroker
from tests.unit.bus.scripted_broker import Client, scripted, until_it_leaves
from tests.unit.external_client.certificates import Certificates, make_certificates

TOPIC = "mg/1/server/1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    context.load_cert_chain(certificates.folder / "client.pem", certificates.folder / "client.key")
    return context


def broker_with(certificates: Certificates, folder: Path) -> TlsMosquittoBroker:
    own = certificates.folder
    return TlsMosquittoBroker(folder, own / "ca.pem", own / "server.pem", own / "server.key")


async def test_tcp_sockets_have_nodelay_set() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        stream = await open_socket(BusLocation(None, "127.0.0.1", port))
        with stream:
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert not stream.getblocking()


async def test_where_nobody_listens_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".+"):
        await open_socket(BusLocation(tmp_path / "nobody.sock"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r".+"):
            await open_socket(BusLocation(None, "127.0.0.1", unused.getsockname()[1]))


async def test_what_cannot_be_a_host_name_is_an_os_error() -> None:
    with pytest.raises(OSError, match="cannot be a host name"):
        await open_socket(BusLocation(None, "x" * 64 + ".example", 1))


async def echo_through(port: int, tls: ssl.SSLContext, payloads: list[bytes]) -> list[bytes]:
    """Publish to a topic that the same connection has subscribed to; what came back."""
    heard: list[bytes] = []
    complete = asyncio.Event()

    def on_message(_: str, payload: bytes) -> None:
        heard.append(payload)
        if len(heard) == len(payloads):
            complete.set()

    async with asyncio.timeout(30):
        plain = await open_socket(BusLocation(None, "127.0.0.1", port))
        stream = await secure(plain, tls, "127.0.0.1")
        connection = MqttConnection(stream, "test", (TOPIC,), lambda: None, on_message)
        await connection.open(5)
        await asyncio.gather(*(connection.publish(TOPIC, each) for each in payloads))
        await complete.wait()
        connection.close()
    return heard


PAYLOADS = [bytes([number]) * (number * 1_000 + 1) for number in range(200)]
PAYLOADS.append(bytes(range(256)) * 8192)
"""Many in one TLS record, several records in one, and more than any buffer takes."""


async def test_large_and_many_messages_pass_through_tls_of_a_real_broker(
    certificates: Certificates, tmp_path: Path
) -> None:
    with broker_with(certificates, tmp_path) as broker:
        assert PAYLOADS == await echo_through(
            broker.tls_port, client_context(certificates), PAYLOADS
        )


def test_the_loop_that_the_processes_run_on_does_tls_too(
    certificates: Certificates, tmp_path: Path
) -> None:
    with (
        broker_with(certificates, tmp_path) as broker,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        context = client_context(certificates)
        assert PAYLOADS == runner.run(echo_through(broker.tls_port, context, PAYLOADS))


async def test_the_last_message_of_a_record_is_not_left_unread(
    certificates: Certificates,
) -> None:
    """All in one TLS record: the socket becomes readable once only."""
    burst = b"".join(b"\x30\x12\x00\x0dmg/1/server/1%03d" % number for number in range(100))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        await client.accept()
        client.write(burst)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificates.server_context())
    async with server, asyncio.timeout(30):
        port = server.sockets[0].getsockname()[1]
        stream = await secure(
            await open_socket(BusLocation(None, "127.0.0.1", port)),
            client_context(certificates),
            "127.0.0.1",
        )
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        connection = MqttConnection(
            stream, "test", (TOPIC,), lambda: None, lambda _, payload: heard.put_nowait(payload)
        )
        await connection.open(5)
        assert [b"%03d" % number for number in range(100)] == [
            await heard.get() for _ in range(100)
        ]
        connection.close()


async def test_cancelled_handshake_leaves_no_socket_and_no_callback() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        stream = await open_socket(BusLocation(None, *listener.getsockname()))
        descriptor = stream.fileno()
        trying = asyncio.create_task(secure(stream, ssl.create_default_context(), "127.0.0.1"))
        await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert not asyncio.get_running_loop().remove_reader(descriptor)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            while accepted.recv(4096):  # its hello, then its end
                pass


async def test_name_that_no_certificate_can_have_is_a_bus_error() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        with pytest.raises(BusError, match="TLS failed"):
            await secure(ours, ssl.create_default_context(), "")
        assert -1 == ours.fileno()


def test_failures_are_told_in_words() -> None:
    def of(reason: str) -> str:
        error = ssl.SSLError(1, "text")
        error.reason = reason
        return tls_failure(error)

    assert "does not speak TLS" in of("WRONG_VERSION_NUMBER")
    assert "our certificate: tlsv1 alert unknown ca" in of("TLSV1_ALERT_UNKNOWN_CA")
    assert "TLS failed: NO_SHARED_CIPHER" == of("NO_SHARED_CIPHER")
    assert "hung up" in tls_failure(ConnectionResetError())
    assert "TLS failed: odd" == tls_failure(ValueError("odd"))


class Moody:
    """A TLS socket that may have to wait for the other direction; it counts the attempts."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self.send_waits = self.recv_waits = False
        self.sends = 0

    def recv(self, size: int) -> bytes:
        if self.recv_waits:
            self.recv_waits = False  # the writer finds the socket writable at once
            raise ssl.SSLWantWriteError
        received = self._stream.recv(size)
        self.send_waits = False
        return received

    def send(self, buffer: bytes) -> int:
        self.sends += 1
        if self.send_waits:
            raise ssl.SSLWantReadError
        return self._stream.send(buffer)

    def pending(self) -> int:
        return 0

    def unwrap(self) -> None:
        raise ssl.SSLWantReadError

    def fileno(self) -> int:
        return self._stream.fileno()

    def setblocking(self, flag: bool) -> None:
        self._stream.setblocking(flag)

    def close(self) -> None:
        self._stream.close()


async def moody(path: Path) -> tuple[Moody, TlsStream]:
    secured = Moody(await open_socket(BusLocation(path)))
    return secured, TlsStream(cast("ssl.SSLSocket", secured))


async def test_sending_that_must_read_first_waits_without_a_busy_loop(tmp_path: Path) -> None:
    may_speak = asyncio.Event()

    async def late(client: Client) -> None:
        await client.accept()
        await may_speak.wait()
        client.write(b"\xd0\x00")
        await until_it_leaves(client)

    async with scripted(tmp_path / "s", late), asyncio.timeout(30):
        secured, stream = await moody(tmp_path / "s")
        connection = MqttConnection(stream, "test", (TOPIC,), lambda: None, lambda *_: None)
        await connection.open(5)
        secured.send_waits, secured.sends = True, 0
        publishing = asyncio.create_task(connection.publish(TOPIC, b"x"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert 1 == secured.sends
        assert not publishing.done()
        may_speak.set()
        await publishing
        connection.close()


async def test_receiving_that_must_write_first_goes_on_when_it_can(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def speaking(client: Client) -> None:
        await client.accept()
        client.write(b"\x30\x12\x00\x0dmg/1/server/1abc")
        await client.reader.read()

    async with scripted(tmp_path / "s", speaking), asyncio.timeout(30):
        secured, stream = await moody(tmp_path / "s")

        def wait_once() -> None:
            secured.recv_waits = True

        connection = MqttConnection(stream, "test", (TOPIC,), wait_once, lambda *_: heard.set())
        await connection.open(5)
        await heard.wait()
        assert not secured.recv_waits
        connection.close()
