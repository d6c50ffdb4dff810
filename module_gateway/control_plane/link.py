"""The connection to the upstream broker: MQTT 3.1.1, QoS 1, clean session, TCP_NODELAY.

It has the shape of `bus.port.Bus`, but is not the local bus: other broker, other counters, and
the topics are the Fleet Protocol's, with wildcards (fleet-protocol 4.1, 4.2).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from contextlib import AsyncExitStack
from typing import Final

from aiomqtt import Client, MqttError, ProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from module_gateway.bus.port import BusListener
from module_gateway.control_plane import metrics
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.log import clean_text, get_logger

KEEPALIVE_S: Final = 15  # fleet-protocol 4.1
CONFIRM_TIMEOUT_S: Final = 5.0
QUEUED_MESSAGES: Final = 10_000
"""Received and not yet handed on, only while the loop is busy; beyond it the newest is lost and
its vehicle's counters show the gap."""
SUBACK_REFUSED: Final = 0x80  # MQTT 3.1.1, 3.9.3
RETRY_MAX_S: Final = 2.0
SHORT_LIFE_S: Final = 1.0
"""A connection that ends sooner did not help: pause before the next one."""

_NODELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it a QoS 1 round trip costs 88 ms (performance 0)."""

_log = get_logger(__name__)


class UpstreamLink:
    """One client of the upstream broker that comes back for ever."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._client: Client | None = None

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        """Connect, subscribe, tell `listener`; again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            async with AsyncExitStack() as stack:
                client = await self._connect(topics, stack)
                began = loop.time()
                self._client = client
                listener.bus_up()
                reason = ""
                try:
                    async for message in client.messages:
                        if isinstance(message.payload, bytes):
                            listener.bus_message(message.topic.value, message.payload)
                except MqttError as error:
                    reason = clean_text(error, 200)
                finally:
                    self._client = None
            listener.bus_down(reason)
            if loop.time() - began < SHORT_LIFE_S:
                await asyncio.sleep(secrets.randbelow(1000) / 1000 * SHORT_LIFE_S)

    async def publish(self, topic: str, payload: bytes) -> None:
        """See `bus.port.Bus`. Calls that overlap are sent in the order in which they began."""
        client = self._client
        if client is None:
            raise BusError("the upstream broker is not connected")
        try:
            await client.publish(topic, payload, qos=1, timeout=CONFIRM_TIMEOUT_S)
        except MqttError as error:
            raise BusError(f"the upstream broker did not confirm: {error}") from error

    async def _connect(self, topics: tuple[str, ...], stack: AsyncExitStack) -> Client:
        """A connected and subscribed client that `stack` will close."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((MqttError, OSError)),
            wait=wait_exponential(multiplier=0.1, max=RETRY_MAX_S) + wait_random(0, 0.2),
            before_sleep=self._report_failure,
        )
        async for attempt in retrying:
            with attempt:
                async with AsyncExitStack() as opening:
                    client = await opening.enter_async_context(self._new_client())
                    granted = await client.subscribe([(topic, 1) for topic in topics], qos=1)
                    if any(_is_refusal(code) for code in granted):
                        raise MqttError("the upstream broker refused a subscription")
                    stack.push_async_exit(opening.pop_all())
                    return client
        raise AssertionError("tenacity gave up although nothing told it to")

    def _new_client(self) -> Client:
        client = Client(
            self._host,
            self._port,
            identifier=f"module-gateway-control-plane-{secrets.token_hex(8)}",
            protocol=ProtocolVersion.V311,
            clean_session=True,
            keepalive=KEEPALIVE_S,
            timeout=CONFIRM_TIMEOUT_S,
            max_queued_incoming_messages=QUEUED_MESSAGES,
            socket_options=[_NODELAY],
            logger=logging.getLogger("module_gateway.control_plane.mqtt"),
        )
        client.pending_calls_threshold = QUEUED_MESSAGES  # publishes overlap on purpose
        return client

    def _report_failure(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:  # one line per outage, not per attempt
            error = state.outcome.exception() if state.outcome is not None else None
            metrics.BROKER_UP.set(0)
            _log.warning(
                "broker_unreachable",
                broker=f"{self._host}:{self._port}",
                error=clean_text(error, 200),
            )


def _is_refusal(code: int | ReasonCode) -> bool:
    """Of a SUBACK: 0 to 2 are the granted QoS."""
    return code >= SUBACK_REFUSED if isinstance(code, int) else code.is_failure
