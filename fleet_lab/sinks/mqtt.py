"""Statuses to an MQTT broker; `answered` is the broker's PUBACK (QoS 1)."""

from __future__ import annotations

from fleet_lab.errors import missing_extra
from fleet_lab.sinks.api import DevicePort
from fleet_lab.sinks.paths import expand
from fleet_lab.sinks.retry import OPEN_TIMEOUT_S, cause
from fleet_lab.sinks.session import LostError, SessionSink, until_one_ends

try:
    import aiomqtt
except ImportError:
    raise missing_extra("aiomqtt", "lab", "the sink mqtt") from None


class MqttSink(SessionSink):
    """`mqtt://HOST:PORT/TOPIC`: statuses go to TOPIC, commands come on TOPIC/command."""

    __slots__ = ()

    async def _live(self, port: DevicePort) -> None:
        topic = expand(self.url.path.lstrip("/"), port.device)
        try:
            async with aiomqtt.Client(
                self.url.host, self.url.port, timeout=OPEN_TIMEOUT_S
            ) as client:
                await client.subscribe(f"{topic}/command", qos=1)
                self._stands(port)
                await until_one_ends(
                    port.device.id,
                    self._commands(client, port),
                    self._statuses(client, topic, port),
                )
        except aiomqtt.MqttError as error:
            raise LostError(cause(error)) from error

    async def _statuses(self, client: aiomqtt.Client, topic: str, port: DevicePort) -> None:
        while True:
            number, payload = await self._outgoing.get()
            await client.publish(topic, payload, qos=1)
            self._took(port, number)

    async def _commands(self, client: aiomqtt.Client, port: DevicePort) -> None:
        async for message in client.messages:
            if isinstance(message.payload, bytes):
                port.commanded(message.payload)
