"""The MQTT connection itself: fleet-protocol 4.1, 4.2, E1, E2, E16."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from module_gateway.external_client.upstream import Target, connect
from module_gateway.protocol.errors import BusError
from module_gateway.protocol.external import Topics
from tests.unit.external_client import fake_broker
from tests.unit.external_client.fake_broker import FakeBroker
from tests.unit.external_client.shell import listening_socket
from tests.waits import waits_from_now

TOPICS = Topics.of("acme", "van")


def target(port: int, keepalive_s: int = 15, connect_timeout_s: float = 30.0) -> Target:
    return Target("127.0.0.1", port, "acme/van", TOPICS, keepalive_s, connect_timeout_s)


def ignore(topic: str, payload: bytes) -> None:
    pass


@asynccontextmanager
async def lost_soon() -> AsyncIterator[None]:
    """The connection inside is lost, and says so."""
    with pytest.raises(BusError):
        yield


async def test_E1_connects_as_the_protocol_asks() -> None:
    async with FakeBroker() as broker:
        async with connect(target(broker.port), None, ignore) as up:
            up.publish(b"payload")
            await broker.until(lambda: bool(broker.of(fake_broker.PUBLISH)))
        hello = broker.of(fake_broker.CONNECT)[0].body
        assert b"\x00\x04MQTT\x04" == hello[:7]  # 3.1.1
        assert 0b10 == hello[7]  # clean session, no will, no user
        assert 15 == int.from_bytes(hello[8:10], "big")
        assert b"acme/van" == hello[12:]
        published = broker.of(fake_broker.PUBLISH)[0]
        topic = b"acme/van/module_gateway"
        assert 0b0010 == published.flags  # QoS 1, not retained, not a duplicate
        assert topic == published.body[2 : 2 + len(topic)]
        assert b"payload" == published.body[4 + len(topic) :]


async def test_E2_both_server_topics_are_subscribed_before_it_is_up() -> None:
    async with FakeBroker() as broker:
        broker.answers.discard(fake_broker.SUBSCRIBE)
        is_up = False

        async def open_it() -> None:
            nonlocal is_up
            async with connect(target(broker.port), None, ignore):
                is_up = True

        opening = asyncio.ensure_future(open_it())
        await broker.until(lambda: bool(broker.of(fake_broker.SUBSCRIBE)))
        body = broker.of(fake_broker.SUBSCRIBE)[0].body[2:]
        wanted = b""
        for topic in (TOPICS.to_gateway, TOPICS.disconnect):
            wanted += len(topic).to_bytes(2, "big") + topic.encode() + b"\x01"
        assert wanted == body
        assert not is_up
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert not is_up


async def test_refused_subscription_is_an_error() -> None:
    async with FakeBroker(subscription=0x80) as broker:
        with pytest.raises(BusError):
            async with connect(target(broker.port), None, ignore):
                pass


async def test_E16_silent_broker_is_noticed_within_one_and_a_half_keepalives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeBroker() as broker:
        async with lost_soon(), connect(target(broker.port, keepalive_s=2), None, ignore):
            broker.answers.clear()
            waits_s = waits_from_now(monkeypatch)
            await asyncio.sleep(60)
        assert 1.0 < sum(waits_s) < 3.0


async def test_E16_quiet_but_living_broker_is_kept() -> None:
    async with FakeBroker() as broker:
        async with connect(target(broker.port, keepalive_s=1), None, ignore):
            await broker.until(lambda: len(broker.of(fake_broker.PINGREQ)) >= 3)
        assert 1 == broker.connections


async def test_lost_connection_cancels_the_body_and_leaves_nothing_behind() -> None:
    async with FakeBroker() as broker, lost_soon(), connect(target(broker.port), None, ignore):
        broker.drop_all()
        await asyncio.sleep(60)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {each for each in names if each.startswith("upstream")}


async def test_case31_teardown_while_a_receive_waits_takes_less_than_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeBroker() as broker:
        async with connect(target(broker.port), None, ignore):
            broker.answers.clear()
            waits_s = waits_from_now(monkeypatch)
        assert sum(waits_s) < 1.0
        await broker.until(lambda: broker.closed == 1)
        assert 1 == len(broker.of(fake_broker.DISCONNECT))


async def test_attempt_at_a_mute_peer_ends_in_time_and_can_be_cancelled() -> None:
    listener = listening_socket()
    port = listener.getsockname()[1]
    try:
        with pytest.raises(BusError):
            async with connect(target(port, connect_timeout_s=0.2), None, ignore):
                pass

        async def try_it() -> None:
            async with connect(target(port), None, ignore):
                pass

        trying = asyncio.ensure_future(try_it())
        loop = asyncio.get_running_loop()
        stream, _ = await loop.sock_accept(listener)
        stream.close()
        stream, _ = await loop.sock_accept(listener)
        trying.cancel()
        async with asyncio.timeout(10):  # a third of the time in which the attempt ends by itself
            await asyncio.gather(trying, return_exceptions=True)
        stream.close()
    finally:
        listener.close()


async def test_broker_that_hangs_up_before_connack_is_noticed_at_once() -> None:
    async with FakeBroker(refuses=True) as broker:
        async with asyncio.timeout(10):  # a third of the time in which the attempt ends by itself
            with pytest.raises(BusError):
                async with connect(target(broker.port), None, ignore):
                    pass


async def test_nobody_listening_is_an_error() -> None:
    listener = listening_socket()
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(BusError):
        async with connect(target(port), None, ignore):
            pass


async def test_retained_messages_of_an_earlier_time_are_ignored() -> None:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    async with (
        FakeBroker() as broker,
        connect(
            target(broker.port), None, lambda topic, payload: heard.put_nowait((topic, payload))
        ),
    ):
        await broker.publish(TOPICS.disconnect, b"", retain=True)
        await broker.publish(TOPICS.to_gateway, b"now")
        first = await asyncio.wait_for(heard.get(), 30)
    assert (TOPICS.to_gateway, b"now") == first


async def test_unconfirmed_publish_ends_the_connection() -> None:
    async with FakeBroker() as broker:
        broker.answers.discard(fake_broker.PUBLISH)
        async with lost_soon(), connect(target(broker.port, keepalive_s=1), None, ignore) as up:
            up.publish(b"x")
            await asyncio.sleep(60)


async def test_publishes_keep_their_order() -> None:
    async with FakeBroker() as broker, connect(target(broker.port), None, ignore) as up:
        for number in range(100):
            up.publish(b"%03d" % number)
        await broker.until(lambda: len(broker.of(fake_broker.PUBLISH)) == 100)
    assert [b"%03d" % number for number in range(100)] == [
        each.body[-3:] for each in broker.of(fake_broker.PUBLISH)
    ]


async def test_at_most_twenty_publishes_wait_for_their_confirmation() -> None:
    async with FakeBroker() as broker:
        broker.answers.discard(fake_broker.PUBLISH)
        async with connect(target(broker.port), None, ignore) as up:
            for number in range(21):
                up.publish(b"%03d" % number)
            with pytest.raises(TimeoutError):
                await broker.until(lambda: len(broker.of(fake_broker.PUBLISH)) > 20, timeout_s=0.3)
            await broker.until(lambda: len(broker.of(fake_broker.PUBLISH)) == 20)
            broker.answers.add(fake_broker.PUBLISH)
            await broker.confirm_all()
            await broker.until(lambda: len(broker.of(fake_broker.PUBLISH)) == 21)


async def test_publish_after_the_end_is_lost_without_an_error() -> None:
    async with (
        FakeBroker() as broker,
        lost_soon(),
        connect(target(broker.port), None, ignore) as up,
    ):
        broker.drop_all()
        try:
            await asyncio.sleep(60)
        finally:
            up.publish(b"too late")
