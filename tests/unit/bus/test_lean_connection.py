"""What is the lean connection's alone; what both adapters do is in test_mqtt_connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from module_gateway.bus import lean_connection
from module_gateway.bus.lean_connection import LeanConnection
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt_codec import PACKET_ID_MAX, Credentials, Will
from module_gateway.bus.stream import open_socket
from module_gateway.protocol.errors import BusError
from tests.brokers import TlsMosquittoBroker
from tests.unit.bus.scripted_broker import (
    CONNACK_OK,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    Client,
    Packet,
    scripted,
    until_it_leaves,
)
from tests.unit.external_client.certificates import Certificates, make_certificates

TOPIC = "mg/1/server/1"
MESSAGE = b"\x32\x14\x00\x0dmg/1/server/1\x00\x01abc"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


async def prepared(path: Path, **options: object) -> LeanConnection:
    stream = await open_socket(BusLocation(path))
    return LeanConnection(stream, "test", (TOPIC,), lambda: None, lambda *_: None, **options)


@contextlib.asynccontextmanager
async def connected(path: Path, **options: object) -> AsyncIterator[LeanConnection]:
    connection = await prepared(path, **options)
    async with asyncio.timeout(PATIENCE_S):
        await connection.open(5)
        try:
            yield connection
        finally:
            connection.close()


class Settled:
    """Remembers how each message of a test ended."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, str]] = []

    def of(self, number: int) -> lean_connection.Settle:
        return lambda error: self.outcomes.append((number, str(error or "confirmed")))


async def accept_and_serve(client: Client) -> None:
    await client.accept()
    await until_it_leaves(client)


async def swallow(client: Client) -> None:
    await client.accept()
    await client.reader.read()


async def test_a_lost_connection_frees_its_socket_and_says_why_once(tmp_path: Path) -> None:
    async with scripted(tmp_path / "s", accept_and_serve), connected(tmp_path / "s") as connection:
        connection.lose("first")
        connection.lose("second")
        connection.close()
        assert "first" == await connection.live(5.0, 5.0)
        assert connection._transport.is_closing()
        with pytest.raises(BusError, match="first"):
            await connection.publish(TOPIC, b"")
    # That the broker's script ended shows that the socket is closed.


async def test_losing_it_settles_everything_once_also_what_had_no_room(tmp_path: Path) -> None:
    settled = Settled()
    async with (
        scripted(tmp_path / "s", swallow),
        connected(tmp_path / "s", max_in_flight=2) as connection,
    ):
        for number in range(4):
            connection.send(TOPIC, b"x", settled.of(number))
        connection.lose("gone")
        connection.lose("again")
    assert [(number, "gone") for number in range(4)] == settled.outcomes


async def test_losing_it_fails_every_publish_that_waits(tmp_path: Path) -> None:
    async with scripted(tmp_path / "s", swallow), connected(tmp_path / "s") as connection:
        waiting = [asyncio.create_task(connection.publish(TOPIC, b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        connection.lose("gone")
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert ["gone"] * 3 == [str(outcome) for outcome in outcomes]
    assert all(isinstance(outcome, BusError) for outcome in outcomes)


async def test_in_flight_is_bounded_and_the_order_is_kept(tmp_path: Path) -> None:
    seen: list[bytes] = []
    settled, all_asked = Settled(), asyncio.Event()

    async def slow(client: Client) -> None:
        await client.accept()
        await all_asked.wait()
        first = [await client.read() for _ in range(3)]
        with pytest.raises(TimeoutError):  # the fourth waits for a confirmation
            async with asyncio.timeout(0.05):
                await client.reader.readexactly(1)
        seen.extend(packet.body[17:] for packet in first)
        for packet in first:
            client.write(b"\x40\x02" + packet.published_id)
        for _ in range(7):
            packet = await client.read()
            seen.append(packet.body[17:])
            client.write(b"\x40\x02" + packet.published_id)
        await client.reader.read()

    async with (
        scripted(tmp_path / "s", slow),
        connected(tmp_path / "s", max_in_flight=3) as connection,
    ):
        for number in range(10):
            connection.send(TOPIC, b"%d" % number, settled.of(number))
        all_asked.set()
        await connection.drain(PATIENCE_S)
        assert [(number, "confirmed") for number in range(10)] == settled.outcomes
    assert [b"%d" % number for number in range(10)] == seen


async def test_drain_has_an_end_when_nothing_is_confirmed_and_when_it_is_lost(
    tmp_path: Path,
) -> None:
    async with scripted(tmp_path / "s", swallow), connected(tmp_path / "s") as connection:
        await connection.drain(PATIENCE_S)
        connection.send(TOPIC, b"x", lambda _: None)
        await connection.drain(0.01)
        draining = asyncio.create_task(connection.drain(PATIENCE_S))
        await asyncio.sleep(0)
        connection.lose("gone")
        await draining


async def test_what_one_turn_produces_leaves_as_one_write(tmp_path: Path) -> None:
    seen: list[Packet] = []
    seen_all, said = asyncio.Event(), asyncio.Event()

    async def speaking(client: Client) -> None:
        await client.accept()
        await said.wait()
        client.write(MESSAGE * 3)
        seen.extend([await client.read() for _ in range(9)])
        seen_all.set()
        await client.reader.read()

    def answer(_: str, payload: bytes) -> None:
        connection.send(TOPIC, payload, lambda _: None)

    async with scripted(tmp_path / "s", speaking):
        stream = await open_socket(BusLocation(tmp_path / "s"))
        connection = LeanConnection(stream, "test", (TOPIC,), lambda: None, answer)
        await connection.open(5)
        writes: list[bytes] = []
        write = connection._transport.write
        connection._transport.write = lambda packets: (writes.append(packets), write(packets))
        for _ in range(3):
            connection.send(TOPIC, b"of one turn", lambda _: None)
        await asyncio.sleep(0)
        assert 1 == len(writes)
        said.set()
        async with asyncio.timeout(PATIENCE_S):
            await seen_all.wait()
        assert 2 == len(writes), "three confirmations and three answers"
        connection.close()
    assert [PUBLISH] * 3 + [PUBLISH, PUBACK] * 3 == [packet.kind for packet in seen]


async def test_who_only_listens_pings_before_the_broker_gives_him_up(tmp_path: Path) -> None:
    pinged = asyncio.Event()

    async def talkative(client: Client) -> None:
        await client.accept()
        reading = asyncio.create_task(client.read())
        while not reading.done():
            client.write(b"\x30\x12\x00\x0dmg/1/server/1abc")  # QoS 0: nothing to answer
            await asyncio.wait((reading,), timeout=0.01)
        assert PINGREQ == (await reading).kind
        client.write(PINGRESP)
        pinged.set()
        await client.reader.read()

    async with scripted(tmp_path / "s", talkative), connected(tmp_path / "s") as connection:
        living = asyncio.create_task(connection.live(5.0, 0.2))
        await pinged.wait()
        assert not connection.lost.done()
        connection.close()
        await living


async def test_a_broker_that_does_not_read_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean_connection, "MAX_UNWRITTEN_BYTES", 1024 * 1024)
    left = asyncio.Event()

    async def deaf(client: Client) -> None:
        await client.accept()
        await left.wait()

    async with scripted(tmp_path / "s", deaf), connected(tmp_path / "s") as connection:
        with pytest.raises(BusError, match="does not read"):
            await connection.publish(TOPIC, bytes(8 * 1024 * 1024))
        left.set()


async def test_a_broker_that_does_not_take_the_last_words_is_left(tmp_path: Path) -> None:
    ended, gone = Settled(), asyncio.Event()

    async def deaf(client: Client) -> None:
        await client.accept()
        await gone.wait()

    async with scripted(tmp_path / "s", deaf), connected(tmp_path / "s") as connection:
        connection.send(TOPIC, bytes(8 * 1024 * 1024), ended.of(1))
        ending = asyncio.Event()
        lost = connection.connection_lost
        connection.connection_lost = lambda error: (lost(error), ending.set())
        connection.close()
        assert [(1, "closed")] == ended.outcomes
        await ending.wait()
        gone.set()


async def test_packet_ids_go_round_and_pass_over_those_that_are_in_use(tmp_path: Path) -> None:
    ids: list[int] = []

    async def watch(client: Client) -> None:
        await client.accept()
        ids.extend([int.from_bytes((await client.read()).published_id, "big") for _ in range(3)])
        await client.reader.read()

    async with scripted(tmp_path / "s", watch), connected(tmp_path / "s") as connection:
        connection._last_id = PACKET_ID_MAX - 2
        connection._unconfirmed[PACKET_ID_MAX] = lambda _: None
        for _ in range(3):
            connection.send(TOPIC, b"x", lambda _: None)
        while len(ids) < 3:
            await asyncio.sleep(0.001)  # the broker reads
    assert [PACKET_ID_MAX - 1, 1, 2] == ids


async def test_more_than_ids_can_tell_apart_is_refused(tmp_path: Path) -> None:
    async with (
        scripted(tmp_path / "s", swallow),
        connected(tmp_path / "s", max_in_flight=1) as connection,
    ):
        for _ in range(PACKET_ID_MAX):
            connection.send(TOPIC, b"", lambda _: None)
        with pytest.raises(BusError, match="too much"):
            connection.send(TOPIC, b"", lambda _: None)


async def test_credentials_and_will_reach_the_broker(tmp_path: Path) -> None:
    connects: list[Packet] = []

    async def watch(client: Client) -> None:
        connects.append(await client.read())
        client.write(CONNACK_OK)
        client.write(b"\x90\x03" + (await client.read()).subscribed_id + b"\x01")
        await until_it_leaves(client)

    options = {"credentials": Credentials("me", "secret"), "will": Will("last/words", b"gone")}
    async with scripted(tmp_path / "s", watch), connected(tmp_path / "s", **options):
        pass
    assert connects[0].body.endswith(b"\x00\x0alast/words\x00\x04gone\x00\x02me\x00\x06secret")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("20 02 00 04", "refused the connection: user name or password are wrong"),
        ("20 02 00 63", "refused the connection: code 99"),
        ("20 02 00 00 90 03 00 01 80", "refused the subscription"),
        ("20 02 00 00 90 04 00 01 01 01", "answered another subscription"),
        ("20 02 00 00 90 03 00 07 01", "answered another subscription"),
        ("f0 00", "breaks MQTT: a packet that begins with 0xf0"),
    ],
)
async def test_what_a_broker_refuses_is_told_in_words(
    tmp_path: Path, answers: str, reason: str
) -> None:
    async def refuse(client: Client) -> None:
        await client.read()
        client.write(bytes.fromhex(answers))
        await client.reader.read()

    async with scripted(tmp_path / "s", refuse):
        connection = await prepared(tmp_path / "s")
        with pytest.raises(BusError, match=reason):
            await connection.open(5)
        connection.close()


@pytest.mark.parametrize("topics", [(), ("with\0zero",)])
async def test_a_subscription_that_mqtt_cannot_carry_is_a_bus_error(
    tmp_path: Path, topics: tuple[str, ...]
) -> None:
    async def accept(client: Client) -> None:
        await client.read()
        client.write(CONNACK_OK)
        await client.reader.read()

    async with scripted(tmp_path / "s", accept):
        stream = await open_socket(BusLocation(tmp_path / "s"))
        connection = LeanConnection(stream, "test", topics, lambda: None, lambda *_: None)
        with pytest.raises(BusError, match="not a valid subscription"):
            await connection.open(5)


async def test_a_client_id_that_mqtt_cannot_carry_is_a_bus_error(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def wait(client: Client) -> None:
        accepted.set()
        await client.reader.read()

    async with scripted(tmp_path / "s", wait):
        stream = await open_socket(BusLocation(tmp_path / "s"))
        connection = LeanConnection(stream, "a\0b", (TOPIC,), lambda: None, lambda *_: None)
        with pytest.raises(BusError, match="not a valid client"):
            await connection.open(5)
        await accepted.wait()
        connection.close()


# TLS

PAYLOADS = [bytes([number]) * (number * 1_000 + 1) for number in range(200)]
PAYLOADS.append(bytes(range(256)) * 8192)
"""Many in one TLS record, several records in one, and more than any buffer takes."""


def client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    context.load_cert_chain(certificates.folder / "client.pem", certificates.folder / "client.key")
    return context


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_large_and_many_messages_pass_through_tls_of_a_real_broker(
    certificates: Certificates, tmp_path: Path, loop_factory: type[asyncio.AbstractEventLoop]
) -> None:
    own = certificates.folder
    heard: list[bytes] = []

    async def echo(port: int) -> None:
        complete = asyncio.Event()

        def on_message(_: str, payload: bytes) -> None:
            heard.append(payload)
            if len(heard) == len(PAYLOADS):
                complete.set()

        async with asyncio.timeout(PATIENCE_S):
            stream = await open_socket(BusLocation(None, "127.0.0.1", port))
            connection = LeanConnection(stream, "test", (TOPIC,), lambda: None, on_message)
            await connection.attach(client_context(certificates), "127.0.0.1")
            await connection.open(5)
            await asyncio.gather(*(connection.publish(TOPIC, each) for each in PAYLOADS))
            await complete.wait()
            connection.close()

    with (
        TlsMosquittoBroker(tmp_path, own / "ca.pem", own / "server.pem", own / "server.key") as b,
        asyncio.Runner(loop_factory=loop_factory) as runner,
    ):
        runner.run(echo(b.tls_port))
    assert PAYLOADS == heard


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_cancelled_handshake_leaves_no_socket(
    loop_factory: type[asyncio.AbstractEventLoop],
) -> None:
    async def cancel(listener: socket.socket) -> None:
        stream = await open_socket(BusLocation(None, *listener.getsockname()))
        connection = LeanConnection(stream, "test", (TOPIC,), lambda: None, lambda *_: None)
        trying = asyncio.create_task(connection.attach(ssl.create_default_context(), "127.0.0.1"))
        await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        connection.close()

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        asyncio.Runner(loop_factory=loop_factory) as runner,
    ):
        runner.run(cancel(listener))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            while accepted.recv(4096):  # its hello, then its end
                pass


async def test_who_does_not_speak_tls_is_told_in_words() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"no TLS here at all")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE_S):
        stream = await open_socket(BusLocation(None, *server.sockets[0].getsockname()))
        connection = LeanConnection(stream, "test", (TOPIC,), lambda: None, lambda *_: None)
        with pytest.raises(BusError, match="does not speak TLS"):
            await connection.attach(ssl.create_default_context(), "127.0.0.1")
        connection.close()
