"""One connection: what both adapters do, and what is paho's alone at the end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from module_gateway.bus.lean_connection import LeanConnection
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt_connection import MqttConnection
from module_gateway.bus.stream import open_socket
from module_gateway.protocol.errors import BusError
from tests.unit.bus.scripted_broker import PINGREQ, Client, scripted, until_it_leaves
from tests.waits import waits_from_now

TOPIC = "mg/1/server/1"

Kind = type[LeanConnection] | type[MqttConnection]
both = pytest.mark.parametrize("kind", [LeanConnection, MqttConnection])


class Owner:
    def __init__(self) -> None:
        self.ups = 0
        self.messages: list[tuple[str, bytes]] = []

    def on_up(self) -> None:
        self.ups += 1

    def on_message(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))


async def accept_and_serve(client: Client) -> None:
    await client.accept()
    await until_it_leaves(client)


async def connected(
    path: Path, owner: Owner, kind: Kind = MqttConnection
) -> LeanConnection | MqttConnection:
    stream = await open_socket(BusLocation(path))
    connection = kind(stream, "test", (TOPIC,), owner.on_up, owner.on_message)
    await connection.open(keepalive_s=5)
    return connection


@both
async def test_losing_it_before_it_is_up_fails_open(tmp_path: Path, kind: Kind) -> None:
    async def mute(client: Client) -> None:
        await client.reader.read()

    async with scripted(tmp_path / "s", mute):
        stream = await open_socket(BusLocation(tmp_path / "s"))
        connection = kind(stream, "test", (TOPIC,), Owner().on_up, Owner().on_message)
        opening = asyncio.create_task(connection.open(5))
        await asyncio.sleep(0)
        connection.lose("gone")
        with pytest.raises(BusError, match="gone"):
            await opening


@both
@pytest.mark.parametrize("topic", ["with/+/wildcard", "with/#"])
async def test_what_mqtt_cannot_carry_is_a_bus_error_and_harms_nobody(
    tmp_path: Path, topic: str, kind: Kind
) -> None:
    async with scripted(tmp_path / "s", accept_and_serve):
        connection = await connected(tmp_path / "s", Owner(), kind)
        with pytest.raises(BusError, match="not publishable"):
            await connection.publish(topic, b"x")
        await connection.publish(TOPIC, b"x")
        connection.close()


@both
async def test_messages_that_come_together_are_delivered_in_order_and_confirmed(
    tmp_path: Path, kind: Kind
) -> None:
    confirmed: list[bytes] = []
    all_confirmed = asyncio.Event()

    async def burst(client: Client) -> None:
        await client.accept()
        packets = b""
        for number in range(1, 101):
            body = b"\x00\x0dmg/1/server/1" + number.to_bytes(2, "big") + b"%03d" % number
            packets += bytes([0x32, len(body)]) + body
        client.write(packets)
        confirmed.extend([(await client.read()).body for _ in range(100)])
        all_confirmed.set()
        await client.reader.read()

    owner = Owner()
    async with scripted(tmp_path / "s", burst):
        connection = await connected(tmp_path / "s", owner, kind)
        async with asyncio.timeout(30):
            await all_confirmed.wait()
        connection.close()
    assert [(TOPIC, b"%03d" % number) for number in range(1, 101)] == owner.messages
    assert [number.to_bytes(2, "big") for number in range(1, 101)] == confirmed


@both
async def test_the_wait_for_a_confirmation_begins_anew_with_every_confirmation(
    tmp_path: Path, kind: Kind
) -> None:
    async def late(client: Client) -> None:
        await client.accept()
        packets = [await client.read() for _ in range(4)]
        for packet in packets:
            await asyncio.sleep(0.5)  # what is tested is time: each is late, but not too late
            client.write(b"\x40\x02" + packet.published_id)
        await client.reader.read()

    async with scripted(tmp_path / "s", late):
        connection = await connected(tmp_path / "s", Owner(), kind)
        living = asyncio.create_task(connection.live(1.5, 60.0))
        await asyncio.gather(*(connection.publish(TOPIC, b"x") for _ in range(4)))
        assert not connection.lost.done()
        connection.close()
        assert "confirmation" not in await living


@both
async def test_a_process_that_stood_still_does_not_blame_the_broker(
    tmp_path: Path, kind: Kind
) -> None:
    async with scripted(tmp_path / "s", accept_and_serve):
        connection = await connected(tmp_path / "s", Owner(), kind)
        living = asyncio.create_task(connection.live(0.1, 60.0))
        publishing = asyncio.create_task(connection.publish(TOPIC, b"x"))
        await asyncio.sleep(0)
        time.sleep(0.3)  # the whole process, three times the limit
        await publishing
        connection.close()
        assert "confirmation" not in await living


@both
async def test_retained_messages_are_of_another_time(tmp_path: Path, kind: Kind) -> None:
    async def retaining(client: Client) -> None:
        await client.accept()
        for flags, text in ((0x31, b"old"), (0x30, b"new")):
            client.write(bytes([flags, 18]) + b"\x00\x0dmg/1/server/1" + text)
        await client.reader.read()

    heard = asyncio.Event()
    owner = Owner()
    async with scripted(tmp_path / "s", retaining):
        stream = await open_socket(BusLocation(tmp_path / "s"))

        def on_message(topic: str, payload: bytes) -> None:
            owner.on_message(topic, payload)
            heard.set()

        connection = kind(stream, "test", (TOPIC,), owner.on_up, on_message)
        await connection.open(5)
        async with asyncio.timeout(30):
            await heard.wait()
        connection.close()
    assert [(TOPIC, b"new")] == owner.messages


@both
async def test_E16_a_silent_broker_is_asked_and_then_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    kinds: list[int] = []

    async def silent(client: Client) -> None:
        await client.accept()
        while True:
            kinds.append((await client.read()).kind)

    async with scripted(tmp_path / "s", silent):
        connection = await connected(tmp_path / "s", Owner(), kind)
        began = time.monotonic()
        waits_s = waits_from_now(monkeypatch)
        assert "the broker is silent" == await connection.live(5.0, ask_after_s=0.6)
        lasted_s = time.monotonic() - began
    assert [PINGREQ] == kinds
    assert 1.2 <= lasted_s
    assert sum(waits_s) < 1.5  # the keep-alive that has this pause is 1 s


@both
async def test_E16_any_sign_of_life_counts(tmp_path: Path, kind: Kind) -> None:
    asked = asyncio.Event()

    async def talkative(client: Client) -> None:
        await client.accept()
        for _ in range(3):
            await client.read()
            client.write(b"\x30\x12\x00\x0dmg/1/server/1abc")  # no answer to the ping
        asked.set()
        await client.reader.read()

    async with scripted(tmp_path / "s", talkative):
        connection = await connected(tmp_path / "s", Owner(), kind)
        living = asyncio.create_task(connection.live(5.0, ask_after_s=0.2))
        async with asyncio.timeout(30):
            await asked.wait()
        assert not connection.lost.done()
        connection.close()
        await living


@both
async def test_silence_is_not_counted_while_the_process_stands_still(
    tmp_path: Path, kind: Kind
) -> None:
    async with scripted(tmp_path / "s", accept_and_serve):
        connection = await connected(tmp_path / "s", Owner(), kind)
        living = asyncio.create_task(connection.live(5.0, ask_after_s=0.1))
        await asyncio.sleep(0)
        time.sleep(0.5)  # the whole process, more than twice the limit
        await connection.publish(TOPIC, b"x")
        assert not connection.lost.done()
        connection.close()
        assert "silent" not in await living


async def test_a_lost_connection_frees_everything_and_says_why_once(tmp_path: Path) -> None:
    owner = Owner()
    async with scripted(tmp_path / "s", accept_and_serve):
        connection = await connected(tmp_path / "s", owner)
        descriptor = connection._stream.fileno()
        connection.lose("first")
        connection.lose("second")
        connection.close()
        assert "first" == await connection.live(5.0, 60.0)
        assert -1 == connection._stream.fileno()
        loop = asyncio.get_running_loop()
        assert not loop.remove_reader(descriptor)
        assert not loop.remove_writer(descriptor)
        with pytest.raises(BusError, match="first"):
            await connection.publish(TOPIC, b"")
    assert owner.ups == 1


async def test_losing_it_fails_every_publish_that_waits(tmp_path: Path) -> None:
    async def swallow(client: Client) -> None:
        await client.accept()
        await client.reader.read()

    async with scripted(tmp_path / "s", swallow):
        connection = await connected(tmp_path / "s", Owner())
        waiting = [asyncio.create_task(connection.publish(TOPIC, b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        connection.lose("gone")
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert ["gone"] * 3 == [str(outcome) for outcome in outcomes]
    assert all(isinstance(outcome, BusError) for outcome in outcomes)
    assert {} == connection._confirmations


async def test_a_socket_that_takes_only_a_part_is_written_on_when_it_is_ready(
    tmp_path: Path,
) -> None:
    payload = bytes(range(256)) * 8192
    bodies: list[bytes] = []

    async def slow_reader(client: Client) -> None:
        await client.accept()
        for _ in range(2):
            packet = await client.read()
            bodies.append(packet.body)
            client.write(b"\x40\x02" + packet.published_id)
        await client.reader.read()

    async with scripted(tmp_path / "s", slow_reader):
        connection = await connected(tmp_path / "s", Owner())
        both = asyncio.gather(
            connection.publish(TOPIC, payload), connection.publish(TOPIC, b"the next")
        )
        await asyncio.sleep(0)
        assert connection._waits_to_write
        await both
        assert not connection._waits_to_write
        connection.close()
    assert [payload, b"the next"] == [body[17:] for body in bodies]
