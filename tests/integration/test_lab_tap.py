"""The tap at a real broker: sees what was published, survives the broker, disturbs nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiomqtt
import pytest

from fleet_lab.errors import LabError
from fleet_lab.ledger.events import Opened, TapEvent
from fleet_lab.ledger.ledger import Enlisted, Ledger
from fleet_lab.ledger.tap import MqttTap
from fleet_lab.ledger.verdict import Verdict
from module_gateway.protocol.external import Connect, Topics, encode
from tests.brokers import MosquittoBroker
from tests.lab_gateways import TOPICS, Lie, LyingGateway, fake_devices, play

WAIT_S = 30.0


async def judged(lie: Lie, port: int) -> Verdict:
    """Play a gateway that publishes through the broker, listened to by a tap."""
    ledger = Ledger(asyncio.get_running_loop().time(), is_tapped=True)
    devices = fake_devices()
    recorder = ledger.enlist("fakes", [Enlisted(d.identity.role, d.identity) for d in devices])
    over = asyncio.Event()

    def hear(event: TapEvent) -> None:
        if isinstance(event, Opened) and event.session == "over":
            over.set()
        else:
            ledger.upstream(event)

    outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    tap = MqttTap("127.0.0.1", port, hear, company="lab", vehicle="fake")
    async with asyncio.timeout(WAIT_S), tap.running(), aiomqtt.Client("127.0.0.1", port) as client:
        await play(
            LyingGateway(lie, lambda topic, payload: outgoing.put_nowait((topic, payload))),
            devices,
            recorder,
        )
        outgoing.put_nowait((TOPICS.from_gateway, encode(Connect("over", "lab", "fake", ()))))
        while not outgoing.empty():
            topic, payload = outgoing.get_nowait()
            await client.publish(topic, payload, qos=1)
        await over.wait()
    assert tap.decoder.undecodable == 0
    ledger.flush()
    return ledger.verdict()


@pytest.mark.parametrize(
    ("lie", "word"),
    [(Lie.NOTHING, None), (Lie.LOSE, "lost"), (Lie.DUPLICATE, "duplicated")],
    ids=["honest", "losing", "duplicating"],
)
async def test_a_gateway_is_judged_through_a_real_broker(tmp_path: Path, lie: Lie, word: str):
    with MosquittoBroker(tmp_path) as broker:
        assert broker.port is not None
        verdict = await judged(lie, broker.port)
    found = {each.word for each in verdict.offenders} - {"late"}  # a busy machine's own
    assert found == ({word} if word else set())


async def test_the_tap_comes_back_after_the_broker_does_and_counts_the_break(tmp_path: Path):
    heard: asyncio.Queue[TapEvent] = asyncio.Queue()
    topic = Topics.of("a", "b").from_gateway
    with MosquittoBroker(tmp_path) as broker:
        assert broker.port is not None
        tap = MqttTap("127.0.0.1", broker.port, heard.put_nowait)
        async with asyncio.timeout(WAIT_S), tap.running():
            broker.kill()
            broker.start()
            session = 0
            while heard.empty():  # published again and again: nobody tells when it listens
                session += 1
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    message = encode(Connect(str(session), "a", "b", ()))
                    await client.publish(topic, message, qos=1)
            event = heard.get_nowait()
    assert isinstance(event, Opened)
    assert event.vehicle == "a/b"
    assert tap.breaks >= 1


async def test_no_broker_is_one_clear_line(unused_tcp_port: int):
    tap = MqttTap("127.0.0.1", unused_tcp_port, lambda event: None)
    with pytest.raises(LabError, match=f"no MQTT broker to tap at 127.0.0.1:{unused_tcp_port}"):
        async with tap.running():
            pass
