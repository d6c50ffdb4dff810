from __future__ import annotations

import asyncio
from pathlib import Path

import aiomqtt

from fleet_lab.devices.api import Device
from fleet_lab.sinks.mqtt import MqttSink
from fleet_lab.sinks.urls import sink_factory
from tests.brokers import mosquitto
from tests.unit.fleet_lab.sinks.ports import RecordingPort


async def test_each_device_has_its_topic_and_hears_only_its_own_commands(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        make = sink_factory(f"mqtt://127.0.0.1:{broker.port}/m{{module}}/{{id}}")
        ports = [RecordingPort(Device(name)) for name in ("a", "b")]
        sinks = [make() for _ in ports]
        async with aiomqtt.Client("127.0.0.1", broker.port or 0) as watcher:
            await watcher.subscribe("m3/+")
            for sink, port in zip(sinks, ports, strict=True):
                assert isinstance(sink, MqttSink)
                await sink.open(port)
                sink.publish(1, port.device.id.encode())
                await port.saw("answered")
            seen = []
            async with asyncio.timeout(30):
                async for message in watcher.messages:
                    seen.append((str(message.topic), message.payload))
                    if len(seen) == 2:
                        break
            await watcher.publish("m3/b/command", b"!", qos=1)
            assert await ports[1].saw("commanded") == [(b"!",)]
        await asyncio.gather(*(sink.close() for sink in sinks))
    assert seen == [("m3/a", b"a"), ("m3/b", b"b")]
    assert ports[0].all("commanded") == []
